"""One training of a recipe, in this environment: by this library's loop, or by transformers' Trainer.

    python -m benchmarks.workers.teach RECIPE SEED SIDE        SIDE = minitl or transformers

Both sides read the same tokens of the same examples, in batches of similar length, and are judged by the same metric:
the recipe's task makes the items and scores the answers. The best epoch is that of the recipe's metric on validation
data; AdamW, peak rate, length of the warm-up and clipping are the recipe's. What differs: the peer's rate stands one
step behind (`make_schedule`), order and dropout are drawn by each side's own generator, and under autocast the peer is
judged in it, too. Prints one line of JSON: the scores on the test set and on validation data.
"""

import contextlib
import json
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import torch

from minitl import fit
from minitl.checkpoints.hub import resolve
from minitl.nn.output import Output
from minitl.tasks.task import Task, TrainingBatch
from minitl.training import evaluate
from minitl.training.beginning import Beginning, begin
from minitl.training.recipe import read_recipe
from minitl.training.settings import Settings

OUTPUTS = {"question-answering": ("start_logits", "end_logits")}
TARGETS = {"tags": "labels", "scores": "labels", "labels": "labels", "start": "start_positions", "end": "end_positions"}
CLASSES = {
    "sequence-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
}


def main() -> None:
    path, seed, side = sys.argv[1:4]
    with contextlib.redirect_stdout(sys.stderr):
        recipe = read_recipe(path, [f"training.seed={seed}"])
        begun = begin(recipe)
        answer = {"minitl": _ours, "transformers": _theirs}[side](begun)
    print(json.dumps(answer))


def _ours(begun: Beginning) -> dict[str, Any]:
    recipe, data, model, task = begun.recipe, begun.data, begun.model, begun.task
    result = fit(model, data.train, data.validation, task=task, settings=recipe.training, strategy=recipe.learns)
    test = evaluate(model, data.test, task=task)
    return {"test": test, "validation": result.metrics}


def _theirs(begun: Beginning) -> dict[str, Any]:
    import transformers

    recipe, data, task = begun.recipe, begun.data, begun.task
    settings, names = recipe.training, data.label_names
    assert recipe.model.source is not None, "the peer begins with a checkpoint"
    transformers.set_seed(settings.seed)
    kind = getattr(transformers, CLASSES[recipe.kind.head])
    count = len(names) if names is not None else recipe.kind.num_labels or 2
    model = kind.from_pretrained(resolve(recipe.model.source), num_labels=count)
    items = {name: task.encode(getattr(data, name)) for name in ("train", "validation", "test")}

    def score(split: str, predictions: Any) -> dict[str, float]:
        return _score(task, items[split], getattr(data, split), predictions)

    class Ordered(transformers.Trainer):
        """Grouping by length would change the order of what is judged, too."""

        def _get_eval_sampler(self, eval_dataset: Any) -> torch.utils.data.Sampler[int]:
            return torch.utils.data.SequentialSampler(eval_dataset)

    with tempfile.TemporaryDirectory() as scratch:
        trainer = Ordered(
            model=model,
            args=_arguments(settings, task.metric, scratch),
            train_dataset=[_row(task, item) for item in items["train"]],
            eval_dataset=[_row(task, item) for item in items["validation"]],
            data_collator=_Collator(task.tokenizer.pad_token_id),  # type: ignore[attr-defined]
            compute_metrics=lambda found: score("validation", found.predictions),
        )
        trainer.train()
        trainer.compute_metrics = None  # which is for the validation split
        predictions = trainer.predict([_row(task, item) for item in items["test"]]).predictions
    return {
        "test": score("test", predictions),
        "validation": {task.metric: trainer.state.best_metric},
    }


def _arguments(settings: Settings, metric: str, scratch: str) -> Any:
    """The settings in the peer's words."""
    import transformers

    return transformers.TrainingArguments(
        output_dir=scratch,
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.eval_batch_size,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.clip,
        warmup_steps=settings.warmup,  # below 1: a share of all steps
        train_sampling_strategy="group_by_length",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_only_model=True,
        load_best_model_at_end=True,
        metric_for_best_model=metric,
        bf16=settings.autocast == "bfloat16",
        use_cpu=True,
        seed=settings.seed,
        report_to=[],
        disable_tqdm=True,
    )


def _row(task: Task[Any, Any], item: Any) -> dict[str, Any]:
    """An item as the peers' models name it, not padded."""
    batch = task.collate([item])
    row = {name: tensor[0].tolist() for name, tensor in batch.inputs.items()}
    return row | {TARGETS[name]: tensor[0].tolist() for name, tensor in batch.targets.items() if name in TARGETS}


class _Collator:
    """Pads on the right: ids by the pad token, tags by -100, masks and types by 0."""

    def __init__(self, pad: int) -> None:
        self.fillers = {"input_ids": pad, "labels": -100}

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        return {
            name: torch.tensor(
                [
                    row[name] + [self.fillers.get(name, 0)] * (longest - len(row[name]))
                    if isinstance(row[name], list)
                    else row[name]
                    for row in rows
                ]
            )
            for name in rows[0]
        }


def _score(task: Task[Any, Any], items: Sequence[Any], examples: Sequence[Any], predictions: Any) -> dict[str, float]:
    """The task's own metrics of the peer's logits: an array [items, …], or one for starts and one for ends."""
    names = OUTPUTS.get(task.name, ("logits",))
    arrays = predictions if isinstance(predictions, tuple) else (predictions,)
    answers: list[Any] = []
    for i, item in enumerate(items):
        batch: TrainingBatch = task.collate([item])
        width = batch.inputs["input_ids"].shape[1]
        per_text = task.name == "sequence-classification"
        logits = [torch.from_numpy(array[i : i + 1]) for array in arrays]
        logits = logits if per_text else [tensor[:, :width] for tensor in logits]
        output = Output(logits[0]).with_(**dict(zip(names, logits, strict=True)))
        answers += list(task.answers(output, batch))
    return task.score(task.predictions(answers, items), examples)


if __name__ == "__main__":
    main()
