"""How the study of controlled sentiment makes its prompts and says what it found."""

import json
from pathlib import Path

from benchmarks.controlled_sentiment import begun, write_rows
from benchmarks.pages.recipes import sentiment_table


def test_prompts_are_the_first_words_of_sentences_that_go_on() -> None:
    assert list(begun(["a b c d e f g h i", "a b c d e f g h", "w x y z 1 2 3 4 5 6"])) == ["a b c d", "w x y z"]


def test_rows_are_a_line_each(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [{"prompt": "é\n"}, {"prompt": "b"}])
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()] == [
        {"prompt": "é\n"},
        {"prompt": "b"},
    ]


def test_the_table_has_a_row_for_each_model(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    rows = [
        {"title": "before", "recipe": "recipes/a.toml", "tests": [{"reward": 0.25, "kl": 0.0}]},
        {
            "title": "DPO",
            "recipe": "recipes/dpo.toml",
            "tests": [{"accuracy": 0.8, "reward": 0.75, "kl": 3.21}, {"accuracy": 0.6, "reward": 0.85, "kl": 3.41}],
        },
    ]
    found = {
        "rows": rows, "reward_model": [{"accuracy": 0.7}], "seeds": [0, 1],
        "held_out": {"pairs": 9, "prompts": 4, "completions": 2}, "pairs": 90,
        "classifier": 0.9, "perplexity": 99.9, "parameters": 1_200_000,
        "command": "python -m x", "date": "2026-01-02T03:04",
    }  # fmt: skip
    path.write_text(json.dumps(found))
    table = sentiment_table(path)
    assert "| before | – | 25.0 | 0.00 | [`recipes/a.toml`](recipes/a.toml) |" in table
    assert "| DPO | 70.0 ± 14.1 | 80.0 ± 7.1 | 3.31 ± 0.14 |" in table
    assert "| reward model | 70.0 | – | – |" in table
    assert (
        "90 pairs, of which 9 on 4 prompts are held out (so few that a share has a standard error of 17 points" in table
    )
