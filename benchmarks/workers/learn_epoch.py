"""An epoch of fine-tuning MiniLM: `python -m benchmarks.workers.learn_epoch LIBRARY FOLDER METHOD PRECISION TEXTS`.

LIBRARY is "minitl"; "peers", transformers' Trainer as it comes, with batches drawn at random and padded to their
longest; or "peers-grouped", the same with its batches grouped by length. METHOD is "full", "lora" (rank 16 on all
linear layers of the encoder, dropout 0.1, with PEFT) or "frozen". PRECISION is "float32", or "bfloat16" for products in
it under autocast. TEXTS is "sst2", sentences of it as they come, or "A-B": half of the texts have A tokens and half B.

Batches of 32 texts, AdamW with a weight decay of 0.01, clipping, the model's own dropouts. Both sides tokenise ahead;
nothing is saved or validated. Trainer's time is the one it tells itself, from its first batch on: what it does before
(a collection of garbage that may take a second) belongs to a training, not to an epoch.
"""

import sys
import tempfile
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.workers import Run, serve
from benchmarks.workers.fine_tune import LINEAR, peer_model

BATCH, EXAMPLES, LENGTH, RATE = 32, 256, 128, 2e-5


def set_up() -> Run:
    library, folder, method, precision, texts = sys.argv[1:6]
    torch.manual_seed(0)
    side = _minitl if library == "minitl" else _peers
    return side(library, folder, method, precision, TEXTS[texts]() if texts in TEXTS else _of_lengths(texts))


def _sst2() -> list[tuple[str, int]]:
    """The same on both sides: the first sentences after one shuffle."""
    import random

    from minitl.data import load_dataset

    train = load_dataset("sst2").train
    random.Random(0).shuffle(train)
    return [(example.text, int(example.label or 0)) for example in train[:EXAMPLES]]


def _of_lengths(spread: str) -> list[tuple[str, int]]:
    """Texts of one-token words; [CLS] and [SEP] count, too."""
    short, long = map(int, spread.split("-"))
    return [("film " * ((short, long)[i // 2 % 2] - 2), i % 2) for i in range(EXAMPLES)]


TEXTS: dict[str, Callable[[], list[tuple[str, int]]]] = {"sst2": _sst2}


def _minitl(_: str, folder: str, method: str, precision: str, texts: list[tuple[str, int]]) -> Run:
    import minitl
    from minitl.data import Example
    from minitl.tasks.sequence_classification import SequenceClassification
    from minitl.training import FROZEN, FULL, Settings, Strategy
    from minitl.training.engine import ALONE
    from minitl.training.fit import prepare

    model = minitl.load_model(folder, "sequence-classification", labels=["negative", "positive"])
    task = SequenceClassification(minitl.load_tokenizer(folder), ["negative", "positive"], LENGTH)
    lora = Strategy("lora", lora=minitl.LoraConfig(r=16, alpha=32, dropout=0.1, target_modules=LINEAR))
    strategy = {"full": FULL, "lora": lora, "frozen": FROZEN}[method]
    settings = Settings(epochs=1000, batch_size=BATCH, learning_rate=RATE, warmup=0.0, autocast=precision)
    examples = [Example(text, label=label) for text, label in texts]
    training = prepare(model, examples, None, task, settings, strategy, None, ALONE, None)

    def run() -> None:
        for window in training.windows_left():
            training.step(window)
        training.end_epoch()

    return run


def _peers(library: str, folder: str, method: str, precision: str, texts: list[tuple[str, int]]) -> Run:
    import transformers

    transformers.logging.set_verbosity_error()
    model = peer_model(folder, "lora" if method == "lora" else "full", torch.float32)
    if method == "frozen":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith("classifier."))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows: list[dict[str, Any]] = [
        {**tokenizer(text, truncation=True, max_length=LENGTH), "labels": label} for text, label in texts
    ]
    arguments = transformers.TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=RATE,
        weight_decay=0.01,
        train_sampling_strategy="group_by_length" if library == "peers-grouped" else "random",
        bf16=precision == "bfloat16",
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
    )

    return lambda: {"seconds": trainer.train().metrics["train_runtime"]}


if __name__ == "__main__":
    serve(set_up)
