"""What every encoder-decoder is: an encoder reads the source, a decoder writes the target and looks at the source.

    source ─ embeddings ─ encoder ─► encoder_last_hidden_state
                                                 │
    target ─ embeddings ─ decoder ◄──────────────┘ ─► last_hidden_state ─ head ─►

A decoder that is None stands for a checkpoint of the encoder alone: the model is then an encoder like any other.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from minitl.errors import InputError
from minitl.models.base import Model, check_cache, check_shape
from minitl.nn.cache import KeyValueCache, SourceCache
from minitl.nn.cross_attention import Source
from minitl.nn.embeddings import as_ids
from minitl.nn.masks import bidirectional_mask
from minitl.nn.output import Output, Recorder


class EncoderDecoderCache(KeyValueCache):
    """A decoder's keys and values of earlier tokens, and of the source.

    source    what the encoder read; None until it has
    sources   a `SourceCache` per decoder layer
    """

    def __init__(
        self,
        layers: int,
        batch: int,
        heads: int,
        capacity: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__(layers, batch, heads, capacity, head_dim, dtype, device)
        self.source: Source | None = None
        self.sources = [SourceCache() for _ in range(layers)]


class Stack(nn.Module):
    """An encoder or a decoder; a family says how it runs. A decoder reads its ids through `embeddings`."""

    layers: nn.ModuleList
    embeddings: nn.Module


class EncoderDecoder(Model):
    """A family derives from this and makes the parts.

    embeddings   ids [batch, length] -> [batch, length, hidden], the same for source and target
    encoder      (embedded source, attention_mask, recorder) -> [batch, source, hidden]; its blocks are `encoder.layers`
    decoder      (embedded target, attention_mask, source, recorder, cache) -> [batch, target, hidden]; `decoder.layers`
    """

    embeddings: nn.Module
    encoder: Stack
    decoder: Stack | None
    new_cache: Callable[[int, int], EncoderDecoderCache]

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        cache: EncoderDecoderCache | None = None,
    ) -> Output:
        """Without `decoder_input_ids`, the target is the source shifted right by one, as in denoising (`shift_right`).

        With a cache, the encoder reads the source in the first call only; `decoder_input_ids` are the new tokens alone,
        and `decoder_attention_mask` covers the old ones too. The target may have several rows for each of the source's,
        next to each other.
        """
        read = Recorder(output_hidden_states, output_attentions)
        source = None if cache is None else cache.source
        if source is None:
            states = self.encoder(self.embeddings(input_ids), attention_mask, read)
            source = Source(states, bidirectional_mask(attention_mask))
        if cache is not None:
            cache.source = source
        if self.decoder is None:
            return Output(source.states, hidden_states=read.hidden_states, attentions=read.attentions)
        written = Recorder(output_hidden_states, output_attentions)
        if decoder_input_ids is None:
            text = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            decoder_input_ids = self.shift_right(input_ids, text)
            decoder_attention_mask = attention_mask if decoder_attention_mask is None else decoder_attention_mask
        embedded = self.decoder.embeddings(decoder_input_ids)
        x = self.decoder(embedded, decoder_attention_mask, source, written, cache)
        return Output(
            x,
            hidden_states=written.hidden_states,
            attentions=written.attentions,
            encoder_last_hidden_state=source.states,
            encoder_hidden_states=read.hidden_states,
            encoder_attentions=read.attentions,
            cross_attentions=written.cross_attentions,
        )

    def shift_right(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """What a decoder reads to write `ids` [batch, length]: its start token, then all of them but the last.

        -100, which marks what a loss leaves out, becomes padding. Where `mask` [batch, length] says that there is
        padding on the left, the start token stands behind it.
        """
        pad = self.config.pad_token_id
        if pad is not None:
            ids = ids.masked_fill(ids == -100, pad)
        start = self.starts(ids, mask)  # [batch, 1]
        shifted = torch.cat((start, ids[:, :-1]), dim=1)
        if mask is None:
            return shifted
        first = mask.bool() & (mask.long().cumsum(-1) == 1)
        return torch.where(first, start, shifted)

    def starts(self, ids: Tensor, mask: Tensor | None) -> Tensor:  # noqa: ARG002
        """The token [batch, 1] that each target begins with."""
        return ids.new_full((len(ids), 1), self.start_token)

    @property
    def start_token(self) -> int:
        """The id that stands before everything a decoder writes; InputError where config.json names none."""
        start: int | None = getattr(self.config, "decoder_start_token_id", None)
        if start is None:
            raise InputError(
                f"this {self.config.model_type} model's config.json names no decoder_start_token_id: "
                "give decoder_input_ids, or to `generate` decoder_start_token_id"
            )
        return start

    @property
    def layers(self) -> nn.ModuleList:  # type: ignore[override]  # one list of two, for those who ask for all
        """The encoder's blocks, then the decoder's."""
        return nn.ModuleList([*self.encoder.layers, *(() if self.decoder is None else self.decoder.layers)])

    def parameter_groups_by_depth(self) -> list[list[nn.Parameter]]:
        below = len(self.encoder.layers)
        depths: list[list[nn.Parameter]] = [[] for _ in range(len(self.layers) + 2)]
        for name, parameter in self.named_parameters():
            stack, kind, number, *_ = f"{name}...".split(".")
            if kind == "layers":
                depths[1 + int(number) + (below if stack == "decoder" else 0)].append(parameter)
            elif kind == "norm":
                depths[-1].append(parameter)
            elif stack != "head":  # embeddings, positions and their norms
                depths[0].append(parameter)
        return depths

    def check_inputs(
        self, input_ids: Tensor, attention_mask: Tensor | None, optional: Mapping[str, Tensor | KeyValueCache]
    ) -> None:
        check_shape("attention_mask", attention_mask, (as_ids(input_ids).shape[0],), input_ids.shape[1])
        target, mask, cache = (optional.get(n) for n in ("decoder_input_ids", "decoder_attention_mask", "cache"))
        if self.decoder is None and optional:
            raise InputError(f"this {self.config.model_type} model is an encoder alone: it takes no {min(optional)}")
        if cache is not None and not isinstance(cache, EncoderDecoderCache):
            raise InputError("an encoder-decoder needs a cache from its own new_cache")
        past = 0 if cache is None else cache.length
        if not isinstance(target, Tensor):
            if past:
                raise InputError("with a filled cache, decoder_input_ids must be given")
            target = input_ids
        rows, length = as_ids(target, "decoder_input_ids").shape
        if rows % input_ids.shape[0]:
            raise InputError(f"decoder_input_ids has {rows} rows, which is no multiple of input_ids' {len(input_ids)}")
        check_cache(cache, rows)
        if cache is not None and cache.source is not None and len(cache.source.states) != input_ids.shape[0]:
            raise InputError(f"the cache has read {len(cache.source.states)} sources, not {input_ids.shape[0]}")
        check_shape("decoder_attention_mask", mask if isinstance(mask, Tensor) else None, (rows,), past + length)
        if self.task == "sequence-classification" and target.shape != input_ids.shape:
            raise InputError(
                f"to classify, decoder_input_ids must have input_ids' shape {list(input_ids.shape)}, got "
                f"{list(target.shape)}: the decoder is read where the source ends"
            )

    def summary_mask(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor | None:
        """The source's end tokens: classifiers of this kind read the decoder where it has seen the last of them.

        InputError where a text that is to be classified has none.
        """
        end = self.config.eos_token_id
        if self.decoder is None or end is None or isinstance(end, list):
            return attention_mask
        ends = input_ids == end if attention_mask is None else (input_ids == end) & attention_mask.bool()
        if self.task == "sequence-classification" and not torch.compiler.is_compiling():
            without = (~ends.any(-1)).nonzero()
            if len(without):
                raise InputError(
                    f"row {int(without[0])} of input_ids holds no end token ({end}) to classify the text at"
                )
        return ends
