"""What every family's model is: a backbone that encodes, and a head that answers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from minitl.checkpoints.key_map import KeyMap, Pair
from minitl.errors import InputError
from minitl.models.config import Config
from minitl.nn.cache import KeyValueCache
from minitl.nn.embeddings import as_ids
from minitl.nn.grown import Grown
from minitl.nn.output import Output


class Model(nn.Module):
    """A family derives from this and says how it encodes; `forward` puts the head on top.

    config   the checked config.json
    task     which head it carries: "backbone", "masked-lm", "causal-lm", "sequence-classification", …
    source   the folder or hub id it was loaded from; None for a new model
    layers   the transformer blocks, bottom first, the same attribute in every family
    head     the task's head (`NoHead` for the backbone); a family sets it last, so that a tensor which the head shares
             with the embedding is met, saved and counted under the embedding's name
    untaught         modules and parameters of which its files held nothing; () for a new model, which never had files
    rows_are_named   whether each row of a batch has an adapter of its own (`use_adapter`), so that no reader moves it
    has_unsaved_rows whether `add_tokens` gave its tables rows that no file holds yet
    new_tokens       the tokens that `add_tokens` gave it rows for since it was loaded
    """

    family: ClassVar["Family"]
    layers: nn.ModuleList
    head: nn.Module
    encode: Callable[..., Output]  # everything below the head; a family's own signature says which inputs it knows
    new_cache: Callable[[int, int], KeyValueCache]  # of decoders: an empty cache for (batch, capacity)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.task = "backbone"
        self.source: str | None = None
        self.untaught: tuple[str, ...] = ()
        self.rows_are_named = False
        self.has_unsaved_rows = False
        self.new_tokens: tuple[str, ...] = ()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        cache: KeyValueCache | None = None,
        text_ids: Tensor | None = None,
    ) -> Output:
        """Run the model.

        input_ids                                 integers [batch, length]
        token_type_ids, position_ids              integers [batch or 1, length]
        attention_mask                            [batch, length], 1 = text, 0 = padding; None = all text; with a cache
                                                  it covers the earlier tokens too: [batch, past + length]
        decoder_input_ids, decoder_attention_mask [batch, target] for encoder-decoders
        cache                                     keys and values of earlier tokens, for decoders
        text_ids                                  integers [batch, length]: several texts in a row, told apart by their
                                                  numbers; none looks into another, and position_ids begin anew

        Returns `minitl.nn.output.Output`. InputError: an input that the family does not have or of another shape, an
        id out of range.
        """
        optional = {
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "decoder_input_ids": decoder_input_ids,
            "decoder_attention_mask": decoder_attention_mask,
            "cache": cache,
            "text_ids": text_ids,
        }
        given = {name: value for name, value in optional.items() if value is not None}
        unknown = set(given) - self.family.inputs
        if unknown:
            raise InputError(f"a {self.config.model_type} model takes no {', '.join(sorted(unknown))}")
        self.check_inputs(input_ids, attention_mask, given)
        output = self.encode(
            input_ids,
            attention_mask,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            **given,
        )
        return self.head(output, self.summary_mask(input_ids, attention_mask))

    def check_inputs(self, input_ids: Tensor, attention_mask: Tensor | None, optional: Mapping[str, Any]) -> None:
        """Raise InputError for an input of the wrong shape. `optional` holds the others that were given, by name."""
        batch, length = as_ids(input_ids).shape
        cache: KeyValueCache | None = optional.get("cache")
        check_cache(cache, batch)
        end = length + (0 if cache is None else cache.length)
        check_shape("attention_mask", attention_mask, (batch,), end)
        for name in ("token_type_ids", "position_ids"):
            check_shape(name, optional.get(name), (batch, 1), length)
        check_shape("text_ids", optional.get("text_ids"), (batch,), length)
        if optional.get("text_ids") is not None and cache is not None:
            raise InputError("text_ids are for texts that are read whole: they go with no cache")
        if optional.get("position_ids") is None:
            self.check_length(end, attention_mask)

    def check_length(self, length: int, attention_mask: Tensor | None, what: str = "text") -> None:
        """Raise InputError where a text of `length` tokens, padding not counted, has more than there are positions."""
        limit = self.position_limit
        if limit is None or length <= limit:
            return
        longest = length if attention_mask is None else int(attention_mask.bool().sum(-1).max())
        if longest > limit:
            raise InputError(
                f"a {what} of {longest} tokens: this {self.config.model_type} model has positions for {limit}; "
                f"cut it, for instance with the tokenizer's max_length={limit}"
            )

    def summary_mask(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor | None:  # noqa: ARG002
        """The tokens [batch, length] that a head may choose from when it reads one for the whole text."""
        return attention_mask

    def stored(self) -> Iterator[tuple[str, Tensor]]:
        """Everything that files hold, by name: the parameters, tied ones once, and the buffers.

        A table that grew (`minitl.nn.grown`) is one tensor in files.
        """
        for name, tensor in (*self.named_parameters(), *self.named_buffers()):
            path, _, attribute = name.rpartition(".")
            module = self.get_submodule(path)
            whole = module.stored(attribute) if isinstance(module, Grown) else tensor
            if whole is not None:
                yield name, whole

    @property
    def key_map(self) -> KeyMap:
        """The translation between this model's parameter names and the published ones."""
        return self.family.key_map(self.task, self.config)

    @property
    def position_limit(self) -> int | None:
        """The longest text in tokens, where positions are rows of a learned table; None where they are computed."""
        table = getattr(getattr(self, "embeddings", None), "position", None)
        return table.num_embeddings if isinstance(table, nn.Embedding) else None

    def parameter_groups_by_depth(self) -> list[list[nn.Parameter]]:
        """Parameters from bottom to top: embeddings, each layer, then whatever stands above the layers (norm, pooler).

        The head is not among them. Tied tensors count where they are first met.
        """
        depths: list[list[nn.Parameter]] = [[] for _ in range(len(self.layers) + 2)]
        for name, parameter in self.named_parameters():
            if name.startswith("embeddings."):
                depths[0].append(parameter)
            elif name.startswith("layers."):
                depths[1 + int(name.split(".")[1])].append(parameter)
            elif not name.startswith("head."):
                depths[-1].append(parameter)
        return depths

    def tie(self) -> None:
        """Make the members of each tie group one tensor, where the config says that word embeddings are tied."""
        for group in self.tie_groups():
            first = self.get_parameter(group[0])
            for name in group[1:]:
                module, _, attribute = name.rpartition(".")
                setattr(self.get_submodule(module), attribute, first)

    def tie_groups(self) -> list[tuple[str, ...]]:
        """The groups of parameter names that are one tensor in this model."""
        return list(self.key_map.ties) if self.config.tie_word_embeddings else []

    @torch.no_grad()
    def initialize(self, modules: Sequence[nn.Module] | None = None) -> None:
        """Fill `modules` (all, if None) with fresh weights: normal(0, initial_std), norms 1, biases 0."""
        for root in [self] if modules is None else modules:
            for module in root.modules():
                _initialize(module, self.config.initial_std)


def check_cache(cache: KeyValueCache | None, rows: int) -> None:
    """InputError for a cache that holds another number of texts."""
    if cache is not None and cache.batch != rows:
        raise InputError(f"the cache was made for {cache.batch} texts, not for {rows}: see new_cache")


def check_shape(name: str, tensor: Tensor | None, rows: tuple[int, ...], columns: int) -> None:
    """InputError unless `tensor` is None or a matrix with `columns` columns and as many rows as one of `rows` says."""
    if tensor is None or (tensor.dim() == 2 and tensor.shape[1] == columns and any(tensor.shape[0] == n for n in rows)):
        return
    wanted = " or ".join(dict.fromkeys(f"[{n}, {columns}]" for n in rows))
    raise InputError(f"{name} must have the shape {wanted}, got {list(tensor.shape)}")


def _initialize(module: nn.Module, std: float) -> None:
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, 0.0, std)
    elif isinstance(weight, nn.Parameter):
        nn.init.ones_(weight)
    if isinstance(bias, Tensor):
        nn.init.zeros_(bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        nn.init.zeros_(module.weight[module.padding_idx])


@dataclass(frozen=True)
class Head:
    """How a task's head of one family is built and stored.

    build           from the config to the module
    architectures   the published class names of this task; the first is written
    pairs, ties     the head's part of the key map
    needs           optional backbone parts without which the head cannot work, e.g. ("pooler",)
    prefix          where published files of this task use another prefix than the family's
    keeps           parts of it that other heads of the family have too, under one published name, and that are taken
                    over from them, e.g. ("head.dense",)
    without         backbone parts that it has no use for and that its published class leaves out, e.g. ("decoder",)
    """

    build: Callable[[Any], nn.Module]
    architectures: tuple[str, ...]
    pairs: tuple[Pair, ...]
    ties: tuple[tuple[str, ...], ...] = ()
    needs: tuple[str, ...] = ()
    prefix: str | None = None
    keeps: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """One registry entry: everything that loading and saving must know of a family.

    keys             the names; a function of the config where its choices change them
    architecture     the published class name of the backbone alone
    inputs           what `encode` takes beyond ids and mask
    partial          published class names of a backbone that lacks parts, e.g. {"T5EncoderModel": ("decoder",)}
    ties_as_stored   config.json does not tell whether word embeddings are tied: the file does, by what differs in it
    """

    config: type[Config]
    model: type[Model]
    keys: KeyMap | Callable[[Any], KeyMap]
    architecture: str
    heads: Mapping[str, Head]
    inputs: frozenset[str] = field(default=frozenset({"position_ids"}))
    partial: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ties_as_stored: bool = False

    def key_map(self, task: str, config: Config) -> KeyMap:
        """The names of a model of this `config` that carries the head of `task`."""
        keys = self.keys if isinstance(self.keys, KeyMap) else self.keys(config)
        if task == "backbone":
            return keys
        head = self.heads[task]
        return keys.extended(head.pairs, head.ties, head.prefix)

    def architectures(self) -> Iterator[tuple[str, str]]:
        """(published class name, task) pairs."""
        for name in (self.architecture, *self.partial):
            yield name, "backbone"
        for task, head in self.heads.items():
            for name in head.architectures:
                yield name, task
