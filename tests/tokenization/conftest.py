"""Tokenizer folders: real ones laid out from the assets, and small SentencePiece models trained on made text."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Make = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> Make:
    """make_folder(files, config): a new folder with files (name → path to copy, or text) and a configuration."""

    def make(files: dict[str, Path | str], config: dict[str, Any] | None = None) -> Path:
        folder = tmp_path / f"folder{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for name, content in files.items():
            if isinstance(content, Path):
                shutil.copy(content, folder / name)
            else:
                (folder / name).write_text(content, encoding="utf-8")
        if config is not None:
            (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        return folder

    return make


@pytest.fixture(scope="session")
def sentencepiece_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """ "bpe" (byte fallback, spaces kept, as Llama's), "unigram" (NFKC map), "marked" (user-defined symbols),
    "identity" (no map, extra spaces removed), "merges" (BPE with NFKC map, as M2M100's and NLLB's), "pegasus" (padding
    and end first, as T5's too)."""
    import sentencepiece

    folder = tmp_path_factory.mktemp("sentencepiece")
    words = ["the", "a", "cat", "dog", "runs", "quickly", "naïve", "straße", "hello", "world", "model", "token"]
    words += ["transfer", "café", "東京", "北京", "data", "loss"]
    draw = random.Random(0)
    lines = [" ".join(draw.choice(words) + draw.choice(["", "s", ",", "."]) for _ in range(9)) for _ in range(1500)]
    (folder / "text").write_text("\n".join(lines), encoding="utf-8")

    kept = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    options = {
        "bpe": {"model_type": "bpe", "byte_fallback": True, "vocab_size": 400, **kept},
        "unigram": {"model_type": "unigram", "vocab_size": 120},
        "unigram_bytes": {"model_type": "unigram", "byte_fallback": True, "vocab_size": 380},
        "identity": {"model_type": "unigram", "vocab_size": 120, "normalization_rule_name": "identity"},
        "merges": {"model_type": "bpe", "vocab_size": 160},
        "pegasus": {"model_type": "unigram", "vocab_size": 110, "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
        "marked": {"model_type": "unigram", "vocab_size": 120, "user_defined_symbols": ["<sym>"]},
    }
    for name, option in options.items():
        sentencepiece.SentencePieceTrainer.train(
            input=str(folder / "text"),
            model_prefix=str(folder / name),
            hard_vocab_limit=False,
            minloglevel=2,
            num_threads=1,
            **option,
        )
    return {name: folder / f"{name}.model" for name in options}
