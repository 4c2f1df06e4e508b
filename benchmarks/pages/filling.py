"""The measured tables of a page, between their markers.

<!-- study: sst2 -->        the table of benchmarks/results/studies/sst2.json
<!-- time: demo -->         how long the study of studies/demo.json took
<!-- peers: sst2 -->        the same study and what the peers' own loop reached, studies/sst2-peers.json
<!-- claims -->             reproduction/*.json
<!-- speed: summary -->     benchmarks/results/*.json, a line for each file; `speed: all`, a line for each comparison
<!-- lora -->               lora_*.json, with their plots, and studies/lora-accuracy.json
<!-- adapters -->           adapter_sizes.json
<!-- tasks -->              studies/tasks.json, each recipe with both sides' scores
<!-- recipes -->            studies/recipes.json, runs of our own before and after
<!-- sentiment -->          studies/controlled_sentiment.json
<!-- layers -->             reproduction/layers.json, studies/layers.json
<!-- end -->                where a table ends
"""

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks import adapter_sizes, layers, reproduction, table
from benchmarks.pages.lora import lora_tables
from benchmarks.pages.recipes import recipes_table, sentiment_table, tasks_table
from benchmarks.pages.studies import peers_table, study_table, study_time
from benchmarks.protocol import RESULTS, ROOT
from minitl.checkpoints.weights import read_json

STUDIES = RESULTS / "studies"
SPEED: dict[str, Callable[[], str]] = {
    "summary": lambda: table.summary(table.result_files()),
    "all": lambda: table.markdown(table.result_files()),
}
TABLES: dict[str, Callable[[str], str]] = {  # by the marker's word, given what stands behind its colon
    "study": lambda name: study_table(STUDIES / f"{name}.json"),
    "time": lambda name: study_time(STUDIES / f"{name}.json"),
    "peers": lambda name: peers_table(STUDIES / f"{name}.json", STUDIES / f"{name}-peers.json"),
    "claims": lambda _: reproduction.markdown(),
    "speed": lambda which: SPEED[which]() + "\n",
    "lora": lambda _: lora_tables(),
    "adapters": lambda _: adapter_sizes.markdown(read_json(adapter_sizes.RESULT)),
    "tasks": lambda _: tasks_table(STUDIES / "tasks.json"),
    "recipes": lambda _: recipes_table(STUDIES / "recipes.json"),
    "sentiment": lambda _: sentiment_table(STUDIES / "controlled_sentiment.json"),
    "layers": lambda _: layers.markdown(),
}
BLOCK = re.compile(
    rf"(?P<begin><!-- (?P<table>{'|'.join(TABLES)})(: (?P<which>\S+))? -->\n)(?P<body>.*?)(?P<end><!-- end -->)",
    re.DOTALL,
)
LINK = re.compile(r"\]\((?!https?:|#)")  # of a file, as it is named from the root


def filled(page: str, folder: Path) -> str:
    """`page`, which lies in `folder`, with every marked table made anew from the committed results."""
    up = "../" * len(folder.relative_to(ROOT).parts)

    def made(found: re.Match[str]) -> str:
        return found["begin"] + LINK.sub(f"]({up}", TABLES[found["table"]](found["which"])) + found["end"]

    return BLOCK.sub(made, page)
