"""Sentence vectors (Reimers & Gurevych 2019, arXiv:1908.10084): one vector a text, near where the meaning is near.

    texts ─ tokens ─ model ─► token vectors ─ pooling ─► text vector ─ dense ─ normalise ─►
                                                                       (where the checkpoint has them)

Which of these a checkpoint was trained with stands in its modules.json, and nowhere else: the same weights under
another pooling give vectors that look right and compare badly. So the file is read, and its absence is an error.
"""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minitl.checkpoints.hub import resolve
from minitl.checkpoints.layout import MODULES, read_modules
from minitl.checkpoints.weights import open_weights, read_json
from minitl.errors import CheckpointError, InputError
from minitl.models.base import Model
from minitl.models.encoder_decoder import EncoderDecoder
from minitl.models.loading import load_model
from minitl.models.packing import packed_weights
from minitl.nn.pooling import POOLINGS, Pooling
from minitl.tokenization import Tokenizer, load_tokenizer
from minitl.tokenization.inputs import check_strings

# What "activation_function" of a dense module may name, by the last part of its dotted name.
ACTIVATIONS = {c.__name__: c for c in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid)}

# A CPU is fastest while a layer's activations stay in its caches: MiniLM reads 2048 tokens at a time in 13% less time
# than 4096 or more, whatever the texts' length.
CPU_TOKENS = 2048
PACK_FROM = 4096  # tokens of a call to `encode` for which it pays to lay the weights out anew


class Dense(nn.Module):
    """activation(linear(vector)): [batch, in] -> [batch, out]."""

    def __init__(self, linear: nn.Linear, activation: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.linear(x))


class Normalize(nn.Module):
    """Scale each vector to length 1, so that dot product and cosine are the same."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)


class SentenceEncoder(nn.Module):
    """What `load_sentence_encoder` returns. `forward` can be trained, `encode` is for use.

    model, tokenizer   the transformer and its tokenizer
    pooling, above     from token vectors to a text vector, and what follows it; in float32 whatever the model's type
    dim                size of the vectors
    max_length         longer texts are cut to so many tokens, special ones included; None = no limit
    lower_case         whether texts are lowered before the tokenizer sees them
    prompts            the texts, by name, that the checkpoint was trained with in front of its inputs
    default_prompt     the one of them that is used unless another is given; "" = none
    similarity         how its vectors are meant to be compared: "cosine", "dot", "euclidean", "manhattan"
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        pooling: Pooling,
        above: nn.Sequential,
        dim: int,
        *,
        max_length: int | None,
        lower_case: bool,
        prompts: Mapping[str, str],
        default_prompt: str,
        similarity: str,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.above = above
        self.dim = dim
        self.max_length = max_length
        self.lower_case = lower_case
        self.prompts = dict(prompts)
        self.default_prompt = default_prompt
        self.similarity = similarity

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and their mask [batch, length], padded on the right -> vectors [batch, dim], float32."""
        hidden = self.model(input_ids, attention_mask).last_hidden_state.float()
        return self.above(self.pooling(hidden, attention_mask))

    def encode(self, texts: str | Sequence[str], batch_size: int = 64, *, prompt: str | None = None) -> Tensor:
        """The vectors of `texts`: float32 [texts, dim] on the CPU, in the order given; a single str is one row.

        batch_size   most texts that the model reads at once, fewer where they are long and the device is the CPU;
                     similar lengths go together, so that little is padded
        prompt       text put before each of them, e.g. `encoder.prompts["query"]`; None = the checkpoint's default

        InputError: something that is no text, or a text without a token.
        """
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        texts = [texts] if isinstance(texts, str) else list(texts)
        check_strings("texts", texts)
        rows = self._token_ids(texts, prompt)
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))  # longest first: memory runs out at once or never
        vectors = torch.empty(len(rows), self.dim)
        much = sum(len(row) for row in rows) >= PACK_FROM
        with torch.inference_mode(), packed_weights(self.model) if much else contextlib.nullcontext():
            start = 0
            while start < len(order):
                size = min(batch_size, self._room(len(rows[order[start]])))
                chosen = order[start : start + size]
                start += size
                vectors[chosen] = self(*self._pad([rows[i] for i in chosen])).cpu()
        return vectors

    def _room(self, length: int) -> int:
        """How many texts of `length` tokens are worth reading at once, whatever the caller allows."""
        on_cpu = next(self.parameters()).device.type == "cpu"
        return max(1, CPU_TOKENS // length) if on_cpu else sys.maxsize

    def _token_ids(self, texts: list[str], prompt: str | None) -> list[list[int]]:
        prompt = self.default_prompt if prompt is None else prompt
        rows: list[list[int]] = []
        for start in range(0, len(texts), 10_000):  # the tokenizer's own records of a text take far more than its ids
            part = texts[start : start + 10_000]
            if prompt:
                part = [prompt + text for text in part]
            if self.lower_case:  # letter by letter, as the published tokenizers do: a final Σ becomes σ, not ς
                part = ["".join(map(str.lower, text)) for text in part]
            rows += self.tokenizer.encode(part, max_length=self.max_length)
        empty = next((i for i, row in enumerate(rows) if not row), None)
        if empty is not None:
            raise InputError(f"text {empty} ({texts[empty]!r:.40}) has no token, and so no vector")
        return rows

    def _pad(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Ids and mask [batch, length], padded on the right; the first row is the longest."""
        length, filler, device = len(rows[0]), self.tokenizer.pad_token_id or 0, next(self.parameters()).device
        ids = torch.tensor([row + [filler] * (length - len(row)) for row in rows], device=device)
        lengths = torch.tensor([len(row) for row in rows], device=device)
        return ids, (torch.arange(length, device=device) < lengths[:, None]).long()


def load_sentence_encoder(
    source: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    revision: str | None = None,
) -> SentenceEncoder:
    """Load a checkpoint in the layout of the sentence-transformers library, in eval mode.

    source     a folder with modules.json, or a hub id (at `revision`)
    device     None = the processor, or what `models_on` says
    dtype      type of the transformer's parameters; what stands above it is float32

    Read besides: each module's config.json, sentence_bert_config.json (max_seq_length, do_lower_case), and
    config_sentence_transformers.json (prompts, default_prompt_name, similarity_fn_name).

    Raises CheckpointError where modules.json is absent (the pooling would be a guess) or names modules that are not
    known here, where a module's files are damaged, or sizes do not fit; and the errors of `load_model` and
    `load_tokenizer`.
    """
    folder = resolve(source, revision=revision)
    transformer, pooling_folder, *rest = _read_modules(folder)
    model = load_model(transformer.folder, "backbone", dtype=dtype, device=device)
    drop_decoder(model)
    tokenizer = load_tokenizer(transformer.folder)
    pooling, dim = _read_pooling(pooling_folder.folder, _width(model))
    above = nn.Sequential()
    for module in rest:
        if module.kind == "Dense":
            dense = _read_dense(module.folder, dim)
            dim = dense.linear.out_features
            above.append(dense)
        else:
            above.append(_read_normalize(module.folder))
    lower_case, limit = _read_text_settings(transformer.folder)
    limits = [tokenizer.model_max_length if limit is None else limit, model.position_limit]
    max_length = min((n for n in limits if n is not None), default=None)
    prompts, default_prompt, similarity = _read_settings(folder)
    return SentenceEncoder(
        model,
        tokenizer,
        pooling,
        above.to(next(model.parameters()).device),
        dim,
        max_length=max_length,
        lower_case=lower_case,
        prompts=prompts,
        default_prompt=default_prompt,
        similarity=similarity,
    ).eval()


def new_sentence_encoder(
    model: Model, tokenizer: Tokenizer, pooling: str = "mean", normalize: bool = False, max_length: int | None = None
) -> SentenceEncoder:
    """An encoder of a backbone whose token vectors are pooled in one of the ways of `minitl.nn.pooling`; in eval mode.

    max_length   longer texts are cut to so many tokens, special ones included; None = all that the model can read
    """
    return SentenceEncoder(
        model,
        tokenizer,
        Pooling([pooling]),
        nn.Sequential(Normalize()) if normalize else nn.Sequential(),
        _width(model),
        max_length=model.position_limit if max_length is None else max_length,
        lower_case=False,
        prompts={},
        default_prompt="",
        similarity="cosine",
    ).eval()


def sentence_files(encoder: SentenceEncoder) -> dict[str, Any]:
    """The JSON files, by their paths, that say how the encoder's model is to be used, as `load_sentence_encoder` and
    sentence-transformers read them; for one of `new_sentence_encoder`, which has neither a dense layer nor prompts."""
    kinds = ["Transformer", "Pooling", *(type(module).__name__ for module in encoder.above)]
    folders = ["", *(f"{i}_{kind}" for i, kind in enumerate(kinds) if i)]
    files: dict[str, Any] = {
        MODULES: [
            {"idx": i, "name": str(i), "path": folder, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, folder) in enumerate(zip(kinds, folders, strict=True))
        ],
        "sentence_bert_config.json": {"max_seq_length": encoder.max_length, "do_lower_case": False},
        "config_sentence_transformers.json": {"similarity_fn_name": encoder.similarity},
    }
    switches = {switch: name in encoder.pooling.modes for name, switch, _ in POOLINGS}
    files["1_Pooling/config.json"] = {"word_embedding_dimension": encoder.dim, **switches}
    return files | {f"{folder}/config.json": {} for folder in folders[2:]}


def drop_decoder(model: Model) -> None:
    """Take the decoder off, where there is one to spare: vectors are the encoder's.

    Sentence-T5, Ni et al. 2022, arXiv:2108.08877.
    """
    if model.family.partial and isinstance(model, EncoderDecoder):
        model.decoder = None


def _width(model: Model) -> int:
    """The size of the token vectors."""
    probe = torch.zeros(1, 1, dtype=torch.long, device=next(model.parameters()).device)
    with torch.inference_mode():
        return model(probe).last_hidden_state.shape[-1]


@dataclass(frozen=True)
class _Module:
    kind: str  # "Transformer", "Pooling", "Dense", "Normalize"
    folder: Path


def _read_modules(folder: Path) -> list[_Module]:
    """The modules that modules.json names: a transformer, a pooling, and what is known here of what may follow."""
    path = folder / MODULES
    if not path.exists():
        raise CheckpointError(
            f"{path}: no such file. It says how token vectors become a text vector; without it, mean pooling or any "
            "other would be a guess. For the token vectors, use load_model"
        )
    modules = []
    for kind, inside in read_modules(folder):
        library, name = kind.split(".")[0], kind.split(".")[-1]
        if library != "sentence_transformers" or name not in ("Transformer", "Pooling", "Dense", "Normalize"):
            raise CheckpointError(
                f"{path}: unknown module type {kind!r}; known: Transformer, Pooling, Dense, Normalize of "
                "sentence_transformers"
            )
        modules.append(_Module(name, folder / inside))
    kinds = [module.kind for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or {"Transformer", "Pooling"} & set(kinds[2:]):
        raise CheckpointError(
            f"{path}: expected a Transformer, a Pooling, then any Dense and Normalize; found {', '.join(kinds)}"
        )
    return modules


def _read_pooling(folder: Path, width: int) -> tuple[Pooling, int]:
    """1_Pooling/config.json, with one list of modes or, in older files, a switch for each; and the vector's size."""
    path = folder / "config.json"
    config = read_json(path)
    size = config.get("embedding_dimension", config.get("word_embedding_dimension"))
    if size != width:
        raise CheckpointError(f"{path}: pools token vectors of size {size!r}; the model's have {width}")
    if config.get("include_prompt", True) is not True:
        raise CheckpointError(f"{path}: field 'include_prompt' must be true: pooling without the prompt is not known")
    stated = config.get("pooling_mode")
    if stated is None:
        modes = [name for name, switch, _ in POOLINGS if config.get(switch, False)]
    else:
        modes = [stated] if isinstance(stated, str) else list(stated)
    known = [name for name, _, _ in POOLINGS]
    if not modes or not set(modes) <= set(known):
        raise CheckpointError(f"{path}: pools by {modes}; expected one or more of {', '.join(known)}")
    return Pooling(modes), width * len(modes)


def _read_dense(folder: Path, width: int) -> Dense:
    """2_Dense: config.json (in_features, out_features, bias, activation_function) and its weights."""
    path = folder / "config.json"
    config = _checked_module(path, read_json(path))
    size_in, size_out = config.get("in_features"), config.get("out_features")
    if size_in != width or not isinstance(size_out, int) or size_out < 1:
        raise CheckpointError(f"{path}: maps size {size_in!r} to {size_out!r}; the vectors below have size {width}")
    name = str(config.get("activation_function", "Tanh")).rpartition(".")[2]
    if name not in ACTIVATIONS:
        raise CheckpointError(
            f"{path}: unknown activation_function {config['activation_function']!r}; known: {', '.join(ACTIVATIONS)}"
        )
    linear = nn.Linear(size_in, size_out, bias=config.get("bias", True))
    weights = open_weights(folder)
    expected = {f"linear.{name}": tuple(parameter.shape) for name, parameter in linear.named_parameters()}
    if weights.shapes != expected:
        raise CheckpointError(f"{folder}: holds {weights.shapes}; its config.json asks for {expected}")
    linear.load_state_dict({key.removeprefix("linear."): weights[key] for key in expected})
    return Dense(linear, ACTIVATIONS[name]())


def _read_normalize(folder: Path) -> Normalize:
    path = folder / "config.json"  # which most checkpoints do not have
    if path.exists():
        _checked_module(path, read_json(path))
    return Normalize()


def _checked_module(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """A module's config, which must work on the text vector in the plain way."""
    plain: dict[str, tuple[Any, ...]] = {
        "module_input_name": ("sentence_embedding",),
        "module_output_name": ("sentence_embedding", None),
        "use_residual": (False,),
    }
    for name, values in plain.items():
        if config.get(name, values[0]) not in values:
            raise CheckpointError(f"{path}: field {name!r} is {config[name]!r}; only {values[0]!r} is known")
    return config


def _read_text_settings(folder: Path) -> tuple[bool, int | None]:
    """do_lower_case and max_seq_length of sentence_bert_config.json (older files name another family)."""
    path = next(iter(sorted(folder.glob("sentence_*_config.json"))), None)
    config = {} if path is None else read_json(path)
    limit, lower = config.get("max_seq_length"), config.get("do_lower_case", False)
    if not (limit is None or (isinstance(limit, int) and limit > 0)) or not isinstance(lower, bool):
        raise CheckpointError(
            f"{path}: expected max_seq_length a positive integer or null, and do_lower_case true or false; "
            f"got {limit!r} and {lower!r}"
        )
    return lower, limit


def _read_settings(folder: Path) -> tuple[dict[str, str], str, str]:
    """Prompts, default prompt and similarity, from config_sentence_transformers.json where there is one."""
    path = folder / "config_sentence_transformers.json"
    config = read_json(path) if path.exists() else {}
    prompts = config.get("prompts") or {}
    name = config.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise CheckpointError(f"{path}: field 'prompts' must map names to texts, got {prompts!r}")
    if name is not None and name not in prompts:
        raise CheckpointError(f"{path}: default_prompt_name {name!r} is not among the prompts: {', '.join(prompts)}")
    return prompts, "" if name is None else prompts[name], config.get("similarity_fn_name") or "cosine"
