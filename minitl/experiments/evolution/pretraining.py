"""The four steps of the guide's evolution, taught on the same tokens: one text, one vocabulary, as many of its tokens.

    text ─ learn ─► vocabulary ─┬─ recipes/novels_skipgram.toml ─► word2vec
                                ├─ recipes/novels_bilm.toml ─────► ELMo
                                ├─ recipes/novels_bert.toml ─────► BERT
                                └─ recipes/novels_gpt2.toml ─────► GPT

The recipes say what a model is like and how fast it learns; the experiment, on what and for how long.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minitl.checkpoints.atomic import write_json
from minitl.checkpoints.weights import read_json
from minitl.data import load_text
from minitl.experiments.experiment import here
from minitl.experiments.teaching import recipe_named, teach
from minitl.tokenization.learning import learn_tokenizer
from minitl.training import Listener
from minitl.training.beginning import Beginning

STATIC = "word2vec"


@dataclass(frozen=True)
class Step:
    """A kind of model: its name, what the guide calls it, and the recipe in recipes/ that has its shape and rate."""

    name: str
    title: str
    recipe: str


STEPS = (
    Step(STATIC, "word2vec", "novels_skipgram"),
    Step("elmo", "ELMo", "novels_bilm"),
    Step("bert", "BERT", "novels_bert"),
    Step("gpt", "GPT", "novels_gpt2"),
)


@dataclass(frozen=True)
class Budget:
    """What every step is given.

    text         to learn from, see `minitl.data.load_text`
    vocabulary   tokens of the one vocabulary, learned from it
    steps        of the optimiser, each of `batch_size` rows of `length` tokens
    changes      by the step's name what its configuration says otherwise than the recipe: other sizes
    """

    text: str = "novels-eng"
    vocabulary: int = 8192
    steps: int = 900
    batch_size: int = 16
    length: int = 128
    changes: Mapping[str, Mapping[str, Any]] | None = None

    @property
    def tokens(self) -> int:
        """How many are read, padding and those that skip-gram leaves out counted."""
        return self.steps * self.batch_size * self.length


def learn_vocabulary(budget: Budget, folder: Path) -> dict[str, Any]:
    """WordPiece, in `folder`/tokenizer, with its bounds under both names: what begins a text for BERT does for GPT."""
    texts = here(lambda: load_text(budget.text)).train
    lines = (line for example in texts for line in example.text.split("\n"))
    kept = folder / "tokenizer"
    tokenizer = learn_tokenizer(lines, "distilbert", budget.vocabulary)  # which gives no token types
    tokenizer.save(kept)
    config = kept / "tokenizer_config.json"
    write_json(config, {**read_json(config), "bos_token": "[CLS]", "eos_token": "[SEP]"})
    return {"tokens": tokenizer.vocab_size}


def pretraining(step: Step, budget: Budget, vocabulary: Path) -> dict[str, Any]:
    """The step's recipe, with the budget in place of its own; NotHere as `recipe_named`."""
    values = recipe_named(step.recipe)
    values["model"]["config"] |= {**(budget.changes or {}).get(step.name, {}), "vocab_size": budget.vocabulary}
    values["model"]["tokenizer"] = str(vocabulary)
    values["data"]["source"] = budget.text
    values["options"]["max_length"] = budget.length
    values["training"] |= {"steps": budget.steps, "batch_size": budget.batch_size}
    for own in ("epochs", "evaluate_every"):  # it is validated at the end
        values["training"].pop(own, None)
    return values


def pretrain(values: Mapping[str, Any], folder: Path, listener: Listener | None) -> dict[str, Any]:
    """Carry out a pretraining, and keep the model in `folder`/model."""
    taught = teach(values, folder, listener)
    taught.save(folder / "model")
    curve = [[step.step, step.loss] for step in taught.result.history.steps]
    training = taught.begun.recipe.training
    return {**taught.facts(), "loss": curve, "flops": step_flops(taught.begun) * (training.steps or 0)}


def step_flops(begun: Beginning) -> int:
    """Of one training step, as torch counts them: the products of matrices, forward and backward."""
    from torch.utils.flop_counter import FlopCounterMode

    task, model = begun.task, begun.model
    items = task.encode((begun.data.validation or begun.data.train)[:1])
    batch = task.collate(items[: begun.recipe.training.batch_size]).to(next(model.parameters()).device)
    with FlopCounterMode(display=False) as counter:
        output = model(**batch.inputs, asked=task.wanted(batch.targets))
        task.loss(output, batch.targets)[0].backward()
    model.zero_grad()
    return int(counter.get_total_flops() * begun.recipe.training.batch_size / len(batch.inputs["input_ids"]))
