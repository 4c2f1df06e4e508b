"""One training with the peers' own loop.

    python -m benchmarks.workers.learn FOLDER EXAMPLES METHOD RATE SEED PRECISION

transformers' Trainer with the study's recipe: 3 epochs in batches of 32 of similar length, AdamW, 10% warm-up, linear
fall, the best epoch on validation data. METHOD ("full", or "lora" with PEFT) and PRECISION are those of
`benchmarks.workers.fine_tune`. EXAMPLES is a JSON file {"train": [[text, label], …], "validation": …, "test": …}.
Prints one line of JSON: the accuracy on validation, on the test set (None where it is empty), and the seconds of the
training.
"""

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.workers.fine_tune import peer_model, weights_type


def main() -> None:
    folder, examples, method, rate, seed, precision = sys.argv[1:7]
    data = json.loads(Path(examples).read_text(encoding="utf-8"))
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as scratch:
        answer = _learn(folder, data, method, float(rate), int(seed), precision, scratch)
    print(json.dumps(answer))


def _learn(
    folder: str, data: dict[str, Any], method: str, rate: float, seed: int, precision: str, scratch: str
) -> dict[str, Any]:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def encoded(split: str) -> list[dict[str, Any]]:
        return [{**tokenizer(text, truncation=True, max_length=128), "labels": label} for text, label in data[split]]

    transformers.set_seed(seed)
    train = encoded("train")
    arguments = transformers.TrainingArguments(
        output_dir=scratch,
        learning_rate=rate,
        num_train_epochs=3,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=64,
        weight_decay=0.01,
        warmup_steps=0.1,  # below 1: a share of all steps
        train_sampling_strategy="group_by_length",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_only_model=True,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        bf16=precision == "bfloat16",
        use_cpu=True,
        seed=seed,
        report_to=[],
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(
        model=peer_model(folder, method, weights_type(precision)),
        args=arguments,
        train_dataset=train,
        eval_dataset=encoded("validation"),
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        compute_metrics=_accuracy,
    )
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    accuracy = trainer.evaluate(encoded("test"))["eval_accuracy"] if data["test"] else None
    return {"validation_accuracy": trainer.state.best_metric, "accuracy": accuracy, "seconds": seconds}


def _accuracy(prediction: Any) -> dict[str, float]:
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


if __name__ == "__main__":
    main()
