"""A translator is looked at as it writes the language that its tokenizer was told."""

from pathlib import Path

import pytest
import torch

from minitl import new_model
from minitl.inspect import look
from minitl.tokenization.languages import Languages
from tests.tasks.test_sequence_to_sequence import MULTILINGUAL, SPECIAL, WORDS, words


@pytest.mark.parametrize("target", [None, "bad day"])
@pytest.mark.parametrize("name", MULTILINGUAL)
def test_a_translator_writes_the_language_it_is_told(name: str, target: str | None, tmp_path: Path) -> None:
    config, single, opens = MULTILINGUAL[name]
    tokenizer = words(tmp_path, "en_XX", "fr_XX")
    codes = {code: len(SPECIAL) + len(WORDS) + i for i, code in enumerate(("en_XX", "fr_XX"))}
    names = {code: code for code in codes}
    tokenizer._languages = Languages(codes, names, single, [*single, "$B"], "en_XX", opens=opens)
    tokenizer.target_language = "fr_XX"
    torch.manual_seed(1)
    source, written = look(
        new_model({**config, "vocab_size": tokenizer.vocab_size}, "seq2seq-lm"), tokenizer, "good", target
    ).stacks
    assert sorted(source.tokens) == ["[SEP]", "en_XX", "good"]
    assert written.tokens[0 if opens else 1] == "fr_XX"
    assert "en_XX" not in written.tokens[:2]
    if target is not None:
        end = ("[SEP]",) if opens else ()  # there the language alone is moved from the end to the front
        assert written.tokens[0 if opens else 1 :] == ("fr_XX", "bad", "day", *end)
