"""Controlled sentiment, as in the DPO paper (Rafailov et al. 2023, section 6) on a small scale: from nothing to three
models tuned by preferences. `python -m benchmarks.controlled_sentiment`

    sentences of film reviews ─ writer.toml ─► a GPT-2 that writes more of them
    SST-2 ────────────────── sentiment.toml ─► a classifier, whose probability of "positive" is the reward
    first words of others ─ GPT-2, two draws ─ classifier ─► pairs: chosen, rejected
    pairs ─ reward.toml, dpo.toml, grpo.toml ─► what was learned ─► benchmarks/results/studies/controlled_sentiment.json

Needs MINITL_ASSETS. What is made on the way stays in runs/, where the recipes find it; interrupted and called again, it
goes on there: a training whose recipe has changed since is made anew, but not what followed from it. Of the pairs, a
tenth of the prompts is held out: neither GPT-2 nor the tuning has seen them. What is tuned is tuned once for each seed.
"""

import json
import random
import shutil
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.protocol import RESULTS, ROOT, machine
from minitl import load_dataset, load_model, load_tokenizer
from minitl.checkpoints.atomic import write_json, write_text
from minitl.checkpoints.weights import read_json
from minitl.cli.main import main as minitl
from minitl.cli.options import FACTS, RECIPE, read_model
from minitl.data import Example, load_preferences, load_prompts, sample
from minitl.tasks.dpo import DPO
from minitl.tasks.grpo import GRPO
from minitl.tasks.rewards import ClassifierReward, load_reward
from minitl.training import evaluate
from minitl.training.recipe import read_recipe

RESULT = RESULTS / "studies" / "controlled_sentiment.json"
RECIPES = ROOT / "recipes"
MADE = Path("runs/controlled_sentiment")
PAIRED = MADE / "pairs.jsonl"
LABELLED = 3_000  # sentences of SST-2 that the classifier is taught by
LONGER_REVIEWS = 12_000  # sentences of whole reviews, beside those chosen for their judgement
PROMPTS = 3_000
WORDS = 4  # of a prompt
PAIRS = 3  # of a prompt
AT_ONCE = 32  # prompts
GROUP = 4  # completions of a held-out prompt
SEEDS = (0, 1, 2)
LORA = ("strategy.name=lora", "training.learning_rate=2e-3")
ARMS = (  # title, recipe, settings
    ("DPO, full", "dpo", ()),
    ("DPO, LoRA", "dpo", LORA),
    ("GRPO, full", "grpo", ()),
    ("GRPO, LoRA", "grpo", LORA),
)


def train(recipe: str, *settings: str) -> Path:
    """`minitl train`, unless that is done; the folder of the run."""
    path = RECIPES / f"{recipe}.toml"
    wanted = read_recipe(path, settings)
    run = Path(wanted.out)
    if (run / FACTS).exists() and read_recipe(run / RECIPE).to_dict() == wanted.to_dict():
        return run
    if run.exists():
        shutil.rmtree(run)
    if minitl(["train", str(path), *(word for setting in settings for word in ("--set", setting))]) != 0:
        raise SystemExit(f"recipes/{recipe}.toml failed")
    return run


def tuned(recipe: str, settings: Sequence[str] = ()) -> list[Path]:
    """The runs of a recipe, one for each seed, each in a folder of its own beside the recipe's."""
    out = "_".join([read_recipe(RECIPES / f"{recipe}.toml").out, *(["lora"] if settings else [])])
    return [train(recipe, *settings, f"training.seed={seed}", f"out={out}_{seed}") for seed in SEEDS]


def facts(run: Path) -> dict[str, Any]:
    """What `minitl train` measured."""
    return read_json(run / FACTS)


def write_texts() -> list[str]:
    """The sentences that GPT-2 and the classifier learn from; the prompts, from sentences that GPT-2 does not see."""
    polarity = load_dataset("sentence_polarity", validation_fraction=0).train
    sentences = list(dict.fromkeys(example.text.strip() for example in polarity))
    random.Random(0).shuffle(sentences)
    prompts = list(dict.fromkeys(begun(sentences)))[:PROMPTS]
    held_out = set(prompts)
    taught = [one for one in sentences if " ".join(one.split()[:WORDS]) not in held_out]
    longer = [line.strip() for e in load_dataset("movie_reviews").train for line in e.text.split("\n")]
    longer = [line for line in longer if 2 * WORDS <= len(line.split()) <= 40]
    taught += random.Random(0).sample(longer, LONGER_REVIEWS)
    random.Random(0).shuffle(taught)
    write_text(MADE / "sentences.txt", "\n\n".join(taught))
    sst2 = load_dataset("sst2")
    assert sst2.label_names is not None
    chosen = sample(sst2.train, LABELLED, 0)
    write_rows(
        MADE / "labelled.jsonl", ({"text": e.text, "label": sst2.label_names[int(e.label or 0)]} for e in chosen)
    )
    return prompts


def begun(sentences: Iterable[str]) -> Iterator[str]:
    """The first words of those that go on."""
    for sentence in sentences:
        words = sentence.split()
        if len(words) > 2 * WORDS:
            yield " ".join(words[:WORDS])


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def pairs(prompts: Sequence[str], writer: GRPO, reward: ClassifierReward) -> Iterator[dict[str, str]]:
    """For each prompt, pairs of completions that ended, the one with the higher reward chosen."""
    torch.manual_seed(0)
    items = writer.encode([Example(prompt) for prompt in prompts])
    end = writer.told.end
    for start in range(0, len(items), AT_ONCE):
        asked = [item for item in items[start : start + AT_ONCE] for _ in range(2 * PAIRS)]
        drawn = writer.draw(asked)
        texts = [writer.tokenizer.decode(ids.tolist(), skip_special_tokens=True) for ids in drawn]
        rewards = reward([item.text for item in asked], texts).tolist()
        whole = [bool(np.isin(end, ids)) and bool(text.strip()) for ids, text in zip(drawn, texts, strict=True)]
        for i in range(0, len(asked), 2):
            if all(whole[i : i + 2]) and texts[i] != texts[i + 1]:
                better, worse = (i, i + 1) if rewards[i] > rewards[i + 1] else (i + 1, i)
                yield {"prompt": asked[i].text, "chosen": texts[better], "rejected": texts[worse]}


def measured(run: Path | None, base: Path, reward: ClassifierReward) -> dict[str, float]:
    """On held-out prompts: which completions a model prefers, what it writes itself, and how far it went for that."""
    kept = (run or MADE) / "measured.json"
    if kept.exists():
        return read_json(kept)
    options = read_recipe(RECIPES / "grpo.toml").options
    model, tokenizer = (load_model(base), load_tokenizer(base)) if run is None else read_model(str(run))[:2]
    before = load_model(base)
    preferring = DPO(tokenizer, model, max_length=64, reference=before)
    drawing = GRPO(
        tokenizer, model, reward, max_length=64, max_new_tokens=options.max_new_tokens, group=GROUP, reference=before
    )
    # Before, policy and reference are one: what they differ by is rounding, and no preference.
    preferred = {} if run is None else evaluate(model, load_preferences(PAIRED).test, task=preferring)
    written = evaluate(model, load_prompts(PAIRED).test, task=drawing, batch_size=AT_ONCE)
    found = {name: value for scores in (preferred, written) for name, value in scores.items() if name != "loss"}
    write_json(kept, found)
    return found


def main() -> None:
    prompts = write_texts()
    writes, judges = train("controlled_sentiment/writer"), train("controlled_sentiment/sentiment")
    base, reward = writes / "model", load_reward(str(judges), "positive")
    model, tokenizer = load_model(base), load_tokenizer(base)
    if not PAIRED.exists():
        writer = GRPO(tokenizer, model, reward, max_length=64, max_new_tokens=40)
        write_rows(PAIRED, pairs(prompts, writer, reward))
    held_out = {"pairs": len(load_preferences(PAIRED).test), "prompts": len(load_prompts(PAIRED).test)}
    learned = [facts(run)["test"] for run in tuned("reward")]
    rows = [
        {
            "title": "before",
            "recipe": "recipes/controlled_sentiment/writer.toml",
            "tests": [measured(None, base, reward)],
        }
    ]
    for title, recipe, settings in ARMS:
        tests = [measured(run, base, reward) for run in tuned(recipe, settings)]
        rows.append({"title": title, "recipe": f"recipes/{recipe}.toml", "tests": tests})
        print(rows[-1], flush=True)
    write_json(
        RESULT,
        {
            "command": "python -m benchmarks.controlled_sentiment",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "pairs": len(PAIRED.read_text(encoding="utf-8").splitlines()),
            "held_out": held_out | {"completions": GROUP},
            "perplexity": facts(writes)["validation"]["perplexity"],
            "classifier": facts(judges)["validation"]["accuracy"],
            "seeds": list(SEEDS),
            "reward_model": learned,
            "rows": rows,
        },
    )
    print(RESULT)


if __name__ == "__main__":
    main()
