"""Write one text from another (Sutskever et al. 2014; as a pretrained model's task, Lewis et al. 2020, section 3).

    source    Zwei Männer .  E ─ encoder ─┐
    reads     S   Two  men .  ─ decoder ◄─┘      the target, moved right by one place (teacher forcing)
    targets   Two men  .   E                     what comes next

Translation and summarisation differ in their data and in how what is written is compared with what is right.
"""

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.data import Example
from minitl.errors import InputError
from minitl.generation import generate
from minitl.models.base import Model
from minitl.models.encoder_decoder import EncoderDecoder
from minitl.nn.output import Output
from minitl.tasks.task import NO_TARGET, Task, TrainingBatch
from minitl.tokenization import Row, Tokenizer

USUAL_TARGET = 128  # tokens


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A tokenised source and target; of a source alone the target is what the tokenizer makes of no text.

    written   whether the model is to write its own target where a split is measured
    """

    source: Row
    target: Row
    written: bool

    @property
    def length(self) -> int:
        return self.source.length + self.target.length


class SequenceToSequence(Task[Example, Pair]):
    """loss = (1 - ε) · -log p(target) + ε · mean of -log p over the vocabulary, summed over the targets' tokens.

    ε is `smoothing` (Szegedy et al. 2016, section 7), defined as in `torch.nn.functional.cross_entropy` and in
    transformers' LabelSmoother: the target itself keeps its share ε / vocabulary of what is spread. (fairseq spreads ε
    over the other tokens alone.) Padding has no share. An `Example`'s text is read, its pair is what is to be written.

    model            the encoder-decoder that learns: it says how targets are shifted, and writes the answers
    tokenizer        from `load_tokenizer`; of a multilingual translator its languages are set to those below
    max_length       tokens of a source; longer ones are cut
    max_new_tokens   of a target: longer ones are cut, no more are written; None = 128, or all the model has places for
    num_beams        1 = greedy; more = beam search
    smoothing        ε, from 0 to below 1
    generated        of how many texts of the validation split, evenly spread, the model writes its own targets after
                     each epoch, which takes a step a token; fewer are written all. `in_full` is the task of a finished
                     model, of which everything is written
    prefix           what stands before each source ("summarize: ", Raffel et al. 2020, section 2.4)
    source_language, target_language   codes of the tokenizer, where it has languages: "de_DE", "deu_Latn", …

    InputError: a model that writes nothing from sources, an option out of range, a language the tokenizer lacks, or
    none to write where it has languages.
    """

    name = "seq2seq-lm"
    writes = True

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        max_length: int = 128,
        max_new_tokens: int | None = None,
        num_beams: int = 1,
        smoothing: float = 0.1,
        generated: int = 200,
        prefix: str = "",
        source_language: str | None = None,
        target_language: str | None = None,
    ) -> None:
        if not isinstance(model, EncoderDecoder) or model.task != self.name:
            raise InputError(f"{model.config.model_type} with the head {model.task} is no encoder-decoder that writes")
        room = None if model.position_limit is None else model.position_limit - 1  # the start token takes a place
        if max_new_tokens is None:
            max_new_tokens = USUAL_TARGET if room is None else min(USUAL_TARGET, room)
        if max_new_tokens < 1 or (room is not None and max_new_tokens > room):
            raise InputError(f"max_new_tokens {max_new_tokens}: expected 1 to {room or 'any number'}")
        if num_beams < 1:
            raise InputError(f"num_beams must be at least 1, got {num_beams}")
        if not 0 <= smoothing < 1:
            raise InputError(f"smoothing must be at least 0 and below 1, got {smoothing}")
        if generated < 1:
            raise InputError(f"generated must be at least 1, got {generated}")
        self.model, self.tokenizer, self.max_length = model, tokenizer, max_length
        self.max_new_tokens, self.num_beams, self.smoothing = max_new_tokens, num_beams, smoothing
        self.generated, self.prefix, self.all = generated, prefix, False
        self.writing: dict[str, int] = _speak(tokenizer, source_language, target_language)

    def in_full(self) -> "SequenceToSequence":
        """The same task, of which every text is written."""
        full = copy.copy(self)
        full.all = True
        return full

    def check_example(self, example: Example) -> str | None:
        if not example.text.strip():
            return "nothing to read: its text is empty"
        return None if example.pair and example.pair.strip() else "nothing to write: it has no second text"

    def is_labelled(self, example: Example) -> bool:
        return example.pair is not None

    def encode(self, examples: Sequence[Example]) -> list[Pair]:
        sources = self.tokenizer.rows([self.prefix + example.text for example in examples], max_length=self.max_length)
        targets = [example.pair or "" for example in examples]
        rows = self.tokenizer.rows(targets, max_length=self.max_new_tokens, as_target=True)
        many = len(examples) if self.all else min(self.generated, len(examples))
        written = {i * len(examples) // many for i in range(many)}
        return [Pair(*both, i in written) for i, both in enumerate(zip(sources, rows, strict=True))]

    def collate(self, items: Sequence[Pair]) -> TrainingBatch:
        """ "tokens" [batch, target]: what each place is to say, NO_TARGET at padding; "written" [batch], bool."""
        source = self.tokenizer.pad([item.source for item in items])
        target = self.tokenizer.pad([item.target for item in items])
        mask = target["attention_mask"]
        inputs = {
            "input_ids": source["input_ids"],
            "attention_mask": source["attention_mask"],
            "decoder_input_ids": self.model.shift_right(target["input_ids"], mask),
            "decoder_attention_mask": mask,
        }
        tokens = target["input_ids"].masked_fill(mask == 0, NO_TARGET)
        return TrainingBatch(inputs, {"tokens": tokens, "written": torch.tensor([item.written for item in items])})

    def loss(self, output: Output, targets: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        assert output.logits is not None
        tokens = targets["tokens"]
        here = tokens != NO_TARGET
        logits = output.logits[here].float()  # [targets, vocabulary]
        loss = F.cross_entropy(logits, tokens[here], reduction="sum", label_smoothing=self.smoothing)
        return loss, int(here.sum())

    def answers(self, output: Output, batch: TrainingBatch) -> list[str | None]:  # noqa: ARG002
        """What the model writes, having seen no target; None for a text that is not to be written."""
        written = batch.targets["written"]
        ids, mask = (batch.inputs[name][written] for name in ("input_ids", "attention_mask"))
        options = {"max_new_tokens": self.max_new_tokens, "num_beams": self.num_beams, **self.writing}
        rows = generate(self.model, ids, mask, **options).tolist() if len(ids) else []  # type: ignore[arg-type]
        texts = (self.tokenizer.decode(row, skip_special_tokens=True).strip() for row in rows)
        return [next(texts) if one else None for one in written.tolist()]

    def score(self, predictions: Sequence[str | None], examples: Sequence[Example]) -> dict[str, float]:
        pairs = [(said, e.pair or "") for said, e in zip(predictions, examples, strict=True) if said is not None]
        return self.compare([said for said, _ in pairs], [right for _, right in pairs])

    @abstractmethod
    def compare(self, written: Sequence[str], right: Sequence[str]) -> dict[str, float]:
        """Metrics of what was written against what is right, by a library."""

    def describe(self) -> dict[str, Any]:
        names = ("max_length", "max_new_tokens", "num_beams", "smoothing", "generated", "prefix", "writing")
        languages = {"source_language": self.tokenizer.source_language} if self.writing else {}
        return {"task": type(self).__name__.lower(), **{name: getattr(self, name) for name in names}, **languages}


class Translation(SequenceToSequence):
    """BLEU (Papineni et al. 2002) and chrF (Popović 2015) of the whole corpus, both 0 to 100, by sacrebleu."""

    metric = "bleu"

    def compare(self, written: Sequence[str], right: Sequence[str]) -> dict[str, float]:
        from sacrebleu import corpus_bleu, corpus_chrf

        return {"bleu": corpus_bleu(written, [right]).score, "chrf": corpus_chrf(written, [right]).score}


class Summarisation(SequenceToSequence):
    """ROUGE-1, -2 and -L (Lin 2004): F1, 0 to 1, of stemmed words, the mean over the texts, by rouge-score."""

    metric = "rougeL"

    def compare(self, written: Sequence[str], right: Sequence[str]) -> dict[str, float]:
        from rouge_score.rouge_scorer import RougeScorer

        names = ["rouge1", "rouge2", "rougeL"]
        scorer = RougeScorer(names, use_stemmer=True)
        scores = [scorer.score(truth, said) for said, truth in zip(written, right, strict=True)]
        return {name: sum(one[name].fmeasure for one in scores) / max(1, len(scores)) for name in names}


def _speak(tokenizer: Tokenizer, source: str | None, target: str | None) -> dict[str, int]:
    """Set the languages of a tokenizer that has any; how `generate` is told what to write."""
    if source is not None:
        tokenizer.source_language = source
    if target is not None:
        tokenizer.target_language = target
    if tokenizer.source_language is None:
        return {}
    if tokenizer.target_language is None:
        raise InputError("target_language must say what is written: this tokenizer has languages")
    return tokenizer.target_options(tokenizer.target_language)
