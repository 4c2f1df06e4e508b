from pathlib import Path

import pytest

from minitl.cli.main import main


@pytest.fixture
def stories(assets: Path) -> str:
    return str(assets / "weights" / "stories260K")


def test_the_likeliest_story_begins_as_published(stories: str, capsys: pytest.CaptureFixture[str]):
    assert main(["generate", stories, "Once", "--max-new-tokens", "20"]) == 0
    assert capsys.readouterr().out.startswith("Once upon a time, there was a little girl named Lily.")


def test_one_seed_draws_one_story(stories: str, capsys: pytest.CaptureFixture[str]):
    told = []
    for seed in ("1", "1", "2"):
        main(["generate", stories, "Once", "--max-new-tokens", "20", "--sample", "--top-p", "0.95", "--seed", seed])
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] != told[2]


def test_a_setting_out_of_range_is_one_line(stories: str, capsys: pytest.CaptureFixture[str]):
    assert main(["generate", stories, "Once", "--sample", "--top-p", "2"]) == 1
    assert capsys.readouterr().err == "minitl: top_p must be above 0 and at most 1, got 2.0\n"
