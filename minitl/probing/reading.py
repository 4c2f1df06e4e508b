"""How a model reads a corpus: what it makes of each word, layer by layer, whichever model it is.

    texts ─ prepare ─► Prepared, or why a text cannot be read
    Prepared ─ states ─► vectors [layers, batch, length, hidden] and whose words they are [batch, length]

A transformer reads tokens, of which a word may have several; ELMo and word vectors read words.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.errors import InputError
from minitl.models.base import Model
from minitl.models.digest import add_tensor, backbone_digest
from minitl.models.elmo import Elmo
from minitl.models.encoder_decoder import EncoderDecoder
from minitl.models.word_vectors import WordVectors
from minitl.nn.output import Recorder
from minitl.probing.task import Text
from minitl.tokenization import Row, Tokenizer
from minitl.tokenization.batch import padded

AT_A_TIME = 10_000  # texts that are tokenised in one call: the tokenizer's own records take far more than the ids
NO_WORD, PADDING = -1, -2  # whose a special token is, and what is no token

Side = Literal["encoder", "decoder"]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A text as its reader takes it.

    content   the tokens, or the words themselves
    words     int32 [length]: which word each token belongs to, NO_WORD where none
    """

    content: Row | Text
    words: npt.NDArray[np.int32]

    @property
    def length(self) -> int:
        return len(self.words)


class Reader(Protocol):
    """layers   how many representations it gives: the embeddings, then one a layer"""

    layers: int

    def digest(self) -> str:
        """Of everything that decides the vectors of a prepared text."""

    def prepare(self, texts: Sequence[Text]) -> list[Prepared | str]:
        """For each text how it is read, or in words why it cannot be."""

    def states(self, batch: Sequence[Prepared], layers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Hidden states [layers, batch, length, hidden], and the word, NO_WORD or PADDING of each [batch, length]."""


class TransformerReader:
    """A model of any family with its tokenizer.

    side   of an encoder-decoder, whose hidden states: those of the encoder, which has read the whole text, or of the
           decoder, which is given the text as its target and has read it up to the word. Other models have one side
    """

    def __init__(self, model: Model, tokenizer: Tokenizer, side: Side | None = None) -> None:
        """InputError: a side that the model does not have."""
        two_sided = isinstance(model, EncoderDecoder) and model.decoder is not None
        if side not in (None, "encoder", "decoder") or (side == "decoder" and not two_sided):
            raise InputError(f"side {side!r}: this {model.config.model_type} model has no such side to read")
        self.model, self.tokenizer = model, tokenizer
        self.side: Side | None = (side or "encoder") if two_sided else None
        self.layers = 1 + len(self._blocks())

    def _blocks(self) -> Any:
        if isinstance(self.model, EncoderDecoder):
            stack = self.model.decoder if self.side == "decoder" else self.model.encoder
            assert stack is not None
            return stack.layers
        return self.model.layers

    def digest(self) -> str:
        digest = backbone_digest(self.model)
        digest.update(str(self.side).encode())
        return digest.hexdigest()

    def prepare(self, texts: Sequence[Text]) -> list[Prepared | str]:
        prepared: list[Prepared | str] = []
        for start in range(0, len(texts), AT_A_TIME):
            part = texts[start : start + AT_A_TIME]
            for text, (row, word_ids) in zip(part, self.tokenizer.word_rows(part, truncation=False), strict=True):
                words = np.array([NO_WORD if word is None else word for word in word_ids], dtype=np.int32)
                prepared.append(self._trouble(text, words) or Prepared(row, words))
        return prepared

    def _trouble(self, text: Text, words: npt.NDArray[np.int32]) -> str | None:
        if not text:
            return "it has no words"
        absent = np.setdiff1d(np.arange(len(text)), words)
        if len(absent):
            return f"the tokenizer makes no token of its word {absent[0]}, {text[absent[0]]!r}"
        limit = self.model.position_limit
        if limit is not None and self.side == "decoder":
            limit -= 1  # the start token takes a place
        if limit is not None and len(words) > limit:
            return f"it has {len(words)} tokens, and the model positions for {limit}"
        return None

    def states(self, batch: Sequence[Prepared], layers: Sequence[int]) -> tuple[Tensor, Tensor]:
        rows = [item.content for item in batch if isinstance(item.content, Row)]
        device = next(self.model.parameters()).device
        inputs = {name: tensor.to(device) for name, tensor in self._padded(rows).items()}
        mask = inputs["attention_mask"]
        words = torch.full(mask.shape, PADDING)
        words[mask.bool().cpu()] = torch.from_numpy(np.concatenate([item.words for item in batch])).long()
        hidden = self._hidden_states(inputs)
        return torch.stack([hidden[layer] for layer in layers]), words

    def _padded(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Padded on the right, whatever the tokenizer's side for writing is: positions count from a row's left."""
        types = [row.type_ids for row in rows if row.type_ids is not None] if self.tokenizer.token_types else None
        return padded([row.ids for row in rows], types, None, self.tokenizer.pad_token_id or 0, "right")

    def _hidden_states(self, inputs: dict[str, Tensor]) -> Sequence[Tensor]:
        """Embeddings first, [batch, length, hidden] each."""
        if not isinstance(self.model, EncoderDecoder):
            states = self.model.encode(**inputs, output_hidden_states=True).hidden_states
            assert states is not None
            return states
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        if self.side != "decoder":  # and the decoder need not run
            seen = Recorder(hidden_states=True, attentions=False)
            self.model.encoder(self.model.embeddings(ids), mask, seen)
            assert seen.hidden_states is not None
            return seen.hidden_states
        return _target_states(self.model, ids, mask)


def _target_states(model: EncoderDecoder, ids: Tensor, mask: Tensor) -> list[Tensor]:
    """The decoder's states where it has just read each token of `ids`, which follow a start token."""
    target, target_mask = model.shift_right(F.pad(ids, (0, 1))), F.pad(mask, (1, 0), value=1)
    output = model.encode(
        ids, mask, decoder_input_ids=target, decoder_attention_mask=target_mask, output_hidden_states=True
    )
    assert output.hidden_states is not None
    return [states[:, 1:] for states in output.hidden_states]


class WordReader:
    """A model that reads words whole: ELMo, whose layers are three, or word vectors, which are one."""

    def __init__(self, model: Elmo | WordVectors) -> None:
        self.model = model
        self.layers = 1 + len(model.layers) if isinstance(model, Elmo) else 1

    def digest(self) -> str:
        digest = hashlib.sha256()
        for name, tensor in self.model.state_dict().items():
            add_tensor(digest, name, tensor)
        digest.update(repr(self.model.config if isinstance(self.model, Elmo) else self.model.words).encode())
        return digest.hexdigest()

    def prepare(self, texts: Sequence[Text]) -> list[Prepared | str]:
        return [Prepared(text, np.arange(len(text), dtype=np.int32)) if text else "it has no words" for text in texts]

    def states(self, batch: Sequence[Prepared], layers: Sequence[int]) -> tuple[Tensor, Tensor]:
        inputs = self.model.batch([item.content for item in batch if isinstance(item.content, tuple)])
        device = next(self.model.parameters()).device
        inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
        hidden = self.model(**inputs, output_hidden_states=True).hidden_states
        mask = inputs["attention_mask"].cpu()
        words = torch.where(mask.bool(), mask.cumsum(-1) - 1, PADDING)
        return torch.stack([hidden[layer] for layer in layers]), words
