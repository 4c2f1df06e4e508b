"""What LoRA adds to published models, from their configurations alone: `python -m benchmarks.adapter_sizes`.

The models stand on the meta device, where tensors have shapes and no content. A file's size is that of the
adapter_model.safetensors that `save_adapter` would write, header included; the two small files beside it are not
counted. What the guide (see `minitl.experiments.study.claims`) says of such sizes is judged by the same numbers.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.protocol import RESULTS
from minitl.adapters import LoraConfig, add_lora, count_parameters, remove_lora
from minitl.adapters.files import PREFIX
from minitl.checkpoints.atomic import write_json
from minitl.models.base import Model
from minitl.models.loading import new_model
from minitl.models.meta import LeaveEmpty
from minitl.pages.claims import Verdict, all_or_some
from minitl.pages.formats import megabytes, share_trained
from tests.models.published import config_of

RESULT = RESULTS / "adapter_sizes.json"
RANKS = (4, 8, 16, 32, 64)
MODELS = {  # title: checkpoint, and the task under whose head the transformer stands; that head does not learn
    "BERT-base": ("bert-base-uncased", "masked-lm"),
    "GPT-2": ("gpt2", "causal-lm"),
    "Llama-2-7B": ("llama-2-7b", "causal-lm"),
    "Mistral-7B": ("mistral-7b-v0.1", "causal-lm"),
    "Llama-3-8B": ("llama-3-8b", "causal-lm"),
}
SEVEN_BILLION = ("Llama-2-7B", "Mistral-7B")
DEFAULT, ATTENTION, ALL = "query and value", "all of attention", "all linear layers"
Targets = Mapping[str, list[str] | str | None]
TARGETS: Targets = {DEFAULT: None, ALL: "all-linear"}
OF_SEVEN_BILLION: Targets = {DEFAULT: None, ATTENTION: ["q_proj", "k_proj", "v_proj", "o_proj"], ALL: "all-linear"}
FORMAT_NAMES = {"float32": ("F32", 4), "bfloat16": ("BF16", 2)}  # as safetensors calls them; bytes a number

GUIDE_ADDED, GUIDE_PERCENT = 33e6, 0.5
GUIDE_BYTES = (5e6, 50e6)
ROUGHLY = 0.1  # "roughly 33 million" is this share more or less

Row = dict[str, Any]  # one adapter of the result file, see `measure`


def tensor_shapes(model: Model, name: str = "default") -> dict[str, tuple[int, ...]]:
    """The tensors of an adapter without saved modules and biases: names in PEFT's files, and shapes."""
    shapes = {}
    for ours, parameter in model.named_parameters():
        path, between, kind = ours.partition(f".adapters.{name}.")
        if between:
            shapes[f"{PREFIX}{model.key_map.to_published(f'{path}.{kind}')}.weight"] = tuple(parameter.shape)
    return shapes


def file_bytes(shapes: Mapping[str, Sequence[int]], dtype: str) -> int:
    """The size of the safetensors file with these tensors: length of the header, header, numbers.

    The header is JSON, filled up with spaces to a multiple of 8; tensors lie in the order of their names.
    """
    spelling, width = FORMAT_NAMES[dtype]
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(shapes):
        begin, end = end, end + width * math.prod(shapes[name])
        header[name] = {"dtype": spelling, "shape": list(shapes[name]), "data_offsets": [begin, end]}
    length = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + -(-length // 8) * 8 + end


def measure(title: str, model: Model, targets: str, modules: list[str] | str | None, rank: int) -> Row:
    """Place an adapter of `rank` on `model`, count, and take it off again."""
    with LeaveEmpty():
        add_lora(model, LoraConfig(r=rank, target_modules=modules))
    shapes, count = tensor_shapes(model), count_parameters(model)
    remove_lora(model)
    assert count.trainable == sum(map(math.prod, shapes.values()))  # nothing learns that the file does not hold
    return {
        "model": title,
        "targets": targets,
        "r": rank,
        "layers": len(shapes) // 2,
        "trainable": count.trainable,
        "total": count.total,
        "bytes": {dtype: file_bytes(shapes, dtype) for dtype in FORMAT_NAMES},
    }


def measure_all() -> dict[str, Any]:
    """The content of the result file."""
    adapters: list[Row] = []
    square: tuple[int, ...] = ()
    for title, (checkpoint, task) in MODELS.items():
        model = new_model(config_of(checkpoint), task, device="meta")
        if title == "Mistral-7B":
            square = tuple(model.get_parameter("layers.0.attention.query.weight").shape)
        for targets, modules in (OF_SEVEN_BILLION if title in SEVEN_BILLION else TARGETS).items():
            adapters += [measure(title, model, targets, modules, rank) for rank in RANKS]
    largest = [row for row in adapters if row["model"] in SEVEN_BILLION]
    return {
        "title": "LoRA's parameters and files",
        "command": "python -m benchmarks.adapter_sizes",
        "models": {title: checkpoint for title, (checkpoint, _) in MODELS.items()},
        "adapters": adapters,
        "claims": [one_matrix(square), added(largest), share(largest), file_size(largest)],
    }


def one_matrix(shape: Sequence[int]) -> dict[str, str]:
    """What a single update has instead of a square matrix."""
    whole, factor = math.prod(shape), sum(shape)
    parts = [f"{factor * r:,} at r = {r} ({share_trained(100 * factor * r / whole)})" for r in (RANKS[0], RANKS[-1])]
    return _claim(
        "4096 × 4096 = 16.7 million numbers … A is 4096×r and B is r×4096",
        f"Mistral-7B's query is one such: {whole:,} against {factor:,} · r, which is {' and '.join(parts)}",
        Verdict.HOLDS if tuple(shape) == (4096, 4096) and whole // 10**5 == 167 else Verdict.FAILS,
    )


def added(adapters: Sequence[Row]) -> dict[str, str]:
    """Whether rank 16 adds about 33 million parameters to a 7B model, and if not, what does."""

    def is_near(row: Row) -> bool:
        return bool(abs(row["trainable"] / GUIDE_ADDED - 1) <= ROUGHLY)

    def millions(row: Row) -> str:
        return f"{row['trainable'] / 1e6:.1f}M"

    rows = [row for row in adapters if row["r"] == 16]
    others = [row for row in adapters if row["r"] != 16 and is_near(row)]
    found = [f"{row['model']}, {row['targets']}, r = {row['r']} ({millions(row)})" for row in others]
    return _claim(
        "A 7B parameter model trained with LoRA (rank 16) adds roughly 33 million trainable parameters",
        f"{_by_targets(rows, millions)}. Near it are: {'; '.join(found) or 'none'}",
        all_or_some(map(is_near, rows)),
    )


def share(adapters: Sequence[Row]) -> dict[str, str]:
    """Whether that is below half a percent of all parameters."""

    def percent(row: Row) -> float:
        return float(100 * row["trainable"] / row["total"])

    rows = [row for row in adapters if row["r"] == 16]
    return _claim(
        "less than 0.5% of the total",
        _by_targets(rows, lambda row: share_trained(percent(row))),
        all_or_some(percent(row) < GUIDE_PERCENT for row in rows),
    )


def file_size(adapters: Sequence[Row]) -> dict[str, str]:
    """For which ranks the file of a 7B model's adapter has from 5 to 50 MB."""

    def fits(row: Row, dtype: str) -> bool:
        return bool(GUIDE_BYTES[0] <= row["bytes"][dtype] <= GUIDE_BYTES[1])

    def ranks(dtype: str) -> Callable[[Row], str]:
        fitting: dict[tuple[str, str], list[str]] = {}
        for row in adapters:
            fitting.setdefault((row["model"], row["targets"]), []).extend([str(row["r"])] * fits(row, dtype))
        return lambda row: f"r = {', '.join(fitting[row['model'], row['targets']]) or 'none'}"

    sizes = [row["bytes"][dtype] for row in adapters for dtype in FORMAT_NAMES]
    inside = [f"in {dtype} for {_by_targets(adapters, ranks(dtype))}" for dtype in FORMAT_NAMES]
    return _claim(
        "Saved file is typically 5–50 MB even for 7B models",
        f"{megabytes(min(sizes))} to {megabytes(max(sizes))}; 5–50 MB {', and '.join(inside)}",
        all_or_some(fits(row, dtype) for row in adapters for dtype in FORMAT_NAMES),
    )


def _by_targets(rows: Sequence[Row], text: Callable[[Row], str]) -> str:
    """What `text` says of the rows: once for each kind of targets, and for each model where the models differ."""
    parts = []
    for targets in OF_SEVEN_BILLION:
        texts = {row["model"]: text(row) for row in rows if row["targets"] == targets}
        if len(set(texts.values())) == 1:
            parts.append(f"{targets} {next(iter(texts.values()))}")
        else:
            parts.append(f"{targets} " + ", ".join(f"{said} ({model})" for model, said in texts.items()))
    return "; ".join(parts)


def _claim(says: str, computed: str, verdict: Verdict) -> dict[str, str]:
    return {"says": says, "computed": computed, "verdict": verdict.value}


def markdown(results: Mapping[str, Any]) -> str:
    """The sizes as one table, a column for each rank, and the claims as another."""
    adapters = [row for row in results["adapters"] if row["targets"] in TARGETS]
    ranks = list(dict.fromkeys(row["r"] for row in adapters))
    cells: dict[tuple[str, str], list[str]] = {}
    for row in adapters:
        percent = share_trained(100 * row["trainable"] / row["total"])
        cell = f"{row['trainable']:,} ({percent}), {megabytes(row['bytes']['float32'])}"
        cells.setdefault((row["model"], row["targets"]), []).append(cell)
    halves = [100 * row["bytes"]["bfloat16"] / row["bytes"]["float32"] for row in adapters]
    lines = [
        f"| model | update of | {' | '.join(f'r = {rank}' for rank in ranks)} |",
        "|---|---|" + "---|" * len(ranks),
        *(f"| {model} | {targets} | {' | '.join(found)} |" for (model, targets), found in cells.items()),
        "",
        "Trainable parameters, their share of all, and the size of the file in float32; in bfloat16 it is "
        f"{min(halves):.1f}% to {max(halves):.1f}% of that. `{results['command']}`.",
        "",
        "| the guide says | computed | verdict |",
        "|---|---|---|",
        *(f"| “{claim['says']}” | {claim['computed']} | {claim['verdict']} |" for claim in results["claims"]),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    write_json(RESULT, measure_all())
    print(RESULT)


if __name__ == "__main__":
    main()
