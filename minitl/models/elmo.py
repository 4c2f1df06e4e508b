"""ELMo: a bidirectional LSTM language model over characters (Peters et al. 2018, arXiv:1802.05365).

    characters ─ convolutions ─ highways ─ projection ─► word ─┬─ LSTM ─┬─ LSTM ─(+)─►  left to right
                                                               │        └────────┘
                                                               └─ LSTM ─┬─ LSTM ─(+)─►  right to left
                                                                        └────────┘
    hidden states:      word, word                          both, joined      both, joined

Each direction is a language model of its own: they meet nowhere but in the result. The character part follows
Jozefowicz et al. 2016 (arXiv:1602.02410, section 3.3), the cells are those of `minitl.nn.lstm`. What a task uses is a
weighted sum of all layers, `minitl.ScalarMix`.

The published code carries the LSTMs' last states from one batch over to the next, so that its vectors of a sentence
depend on what was read before, and warms up on a few batches. Here each text starts from zero states, as there the very
first does: the same text has the same vectors always.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minitl.checkpoints.atomic import write_json
from minitl.checkpoints.hdf5 import Hdf5Weights, write_hdf5
from minitl.checkpoints.key_map import KeyMap
from minitl.checkpoints.weights import read_json
from minitl.errors import CheckpointError, ConfigError, InputError
from minitl.models.config import is_positive
from minitl.models.meta import LeaveEmpty
from minitl.nn.activations import ACTIVATIONS
from minitl.nn.characters import CharacterEncoder
from minitl.nn.lstm import ProjectedLSTM
from minitl.nn.output import Output, Recorder
from minitl.tokenization.characters import (
    CHARACTERS,
    TEXT_BEGIN,
    TEXT_END,
    WORD_BEGIN,
    WORD_END,
    WORD_PADDING,
    encode_characters,
)


@dataclass(frozen=True)
class ElmoConfig:
    """options.json: what its sections "lstm" and "char_cnn" say; the rest, about training, is kept in `options`."""

    dim: int  # of an LSTM's cell
    projection_dim: int  # of a word and of what an LSTM puts out; a hidden state joins two of them
    n_layers: int
    cell_clip: float | None
    proj_clip: float | None
    use_skip_connections: bool  # from the second layer on, add a layer's input to its output
    max_characters_per_token: int  # marks of begin and end included
    character_dim: int  # "embedding": {"dim": …}
    filters: tuple[tuple[int, int], ...]  # (width in characters, number) of each convolution
    n_highway: int
    activation: str
    options: dict[str, Any]

    @classmethod
    def from_dict(cls, options: dict[str, Any], where: str = "options.json") -> "ElmoConfig":
        """Read a parsed options.json. ConfigError names `where`, the field and what was expected."""
        lstm, char_cnn = _Section(options, "lstm", where), _Section(options, "char_cnn", where)
        characters = char_cnn.size("n_characters")
        if characters != CHARACTERS:
            raise ConfigError(
                f"{char_cnn.place('n_characters')} must be {CHARACTERS}, got {characters} (a model is trained with "
                f"{CHARACTERS - 1} and used with {CHARACTERS}: one id more, for padding)"
            )
        config = cls(
            dim=lstm.size("dim"),
            projection_dim=lstm.size("projection_dim"),
            n_layers=lstm.size("n_layers", 1),
            cell_clip=lstm.bound("cell_clip"),
            proj_clip=lstm.bound("proj_clip"),
            use_skip_connections=lstm.switch("use_skip_connections"),
            max_characters_per_token=char_cnn.size("max_characters_per_token"),
            character_dim=_Section(char_cnn.values, "embedding", char_cnn.where).size("dim"),
            filters=char_cnn.filters(),
            n_highway=char_cnn.size("n_highway", 0),
            activation=char_cnn.choice("activation", ("relu", "tanh")),
            options=options,
        )
        if config.projection_dim > config.dim:
            raise ConfigError(f"{lstm.place('projection_dim')} must be at most 'dim' ({config.dim})")
        room = config.max_characters_per_token
        if room < 3 or config.widest_filter > room:
            raise ConfigError(f"{char_cnn.place('max_characters_per_token')} must be at least 3 and the widest filter")
        return config

    @property
    def widest_filter(self) -> int:
        return max(width for width, _ in self.filters)


class _Section:
    """One section of options.json, and the checks of its fields."""

    def __init__(self, values: dict[str, Any], name: str, where: str) -> None:
        self.where = f"{where}, {name}"
        section = values.get(name)
        if not isinstance(section, dict):
            raise ConfigError(f"{where}: section {name!r} must be a mapping, got {section!r}")
        self.values: dict[str, Any] = section

    def place(self, name: str) -> str:
        return f"{self.where}: field {name!r}"

    def size(self, name: str, default: int | None = None) -> int:
        """An integer of at least 1, or of at least 0 where that is the default; the default where there is none."""
        value = self.values.get(name)
        value = default if value is None else value
        least = 1 if default is None else min(1, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"{self.place(name)} must be an integer of at least {least}, got {value!r}")
        return value

    def bound(self, name: str) -> float | None:
        value = self.values.get(name)
        if value is not None and not is_positive(value):
            raise ConfigError(f"{self.place(name)} must be a number above 0 or null, got {value!r}")
        return None if value is None else float(value)

    def switch(self, name: str) -> bool:
        value = self.values.get(name)
        if not isinstance(value, bool):
            raise ConfigError(f"{self.place(name)} must be true or false, got {value!r}")
        return value

    def choice(self, name: str, known: Sequence[str]) -> str:
        value = self.values.get(name)
        if value not in known:
            raise ConfigError(f"{self.place(name)} must be one of {', '.join(known)}, got {value!r}")
        return str(value)

    def filters(self) -> tuple[tuple[int, int], ...]:
        value = self.values.get("filters")
        pairs = value if isinstance(value, list) else []
        whole = all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for p in pairs if _is_pair(p) for n in p)
        if not pairs or not whole or not all(map(_is_pair, pairs)):
            raise ConfigError(f"{self.place('filters')} must be a list of [width, number] pairs, got {value!r}")
        return tuple((width, number) for width, number in pairs)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


class Block(nn.Module):
    """One LSTM a direction. Both read from their own beginning: the second gets the text turned round."""

    def __init__(self, config: ElmoConfig, skip: bool) -> None:
        super().__init__()
        size = config.projection_dim
        self.left_to_right = ProjectedLSTM(size, config.dim, size, config.cell_clip, config.proj_clip)
        self.right_to_left = ProjectedLSTM(size, config.dim, size, config.cell_clip, config.proj_clip)
        self.skip = skip

    def forward(self, ahead: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:  # each [batch, length, projection]
        read_ahead, read_back = self.left_to_right(ahead), self.right_to_left(back)
        return (read_ahead + ahead, read_back + back) if self.skip else (read_ahead, read_back)


class Elmo(nn.Module):
    """The language model without its output layer, which the published files lack.

    config       the checked options.json
    embeddings   a word's vector from its characters
    layers       the LSTMs, bottom first
    """

    def __init__(self, config: ElmoConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = CharacterEncoder(
            CHARACTERS,
            config.character_dim,
            config.filters,
            config.n_highway,
            config.projection_dim,
            ACTIVATIONS[config.activation],
        )
        self.layers = nn.ModuleList(
            Block(config, skip=config.use_skip_connections and i > 0) for i in range(config.n_layers)
        )

    def batch(self, texts: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        """The inputs of `forward` for texts given as lists of words; case and spelling are left as they are.

        InputError: a text that is no list of strings, or no word in any of them.
        """
        return encode_characters(texts, self.config.max_characters_per_token, self.config.widest_filter)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, output_hidden_states: bool = False
    ) -> Output:
        """Run the model.

        input_ids        character ids [batch, words, characters], as `batch` makes them: padded to the published 50, or
                         to the longest word and the widest filter beyond, after which nothing new is to be found
        attention_mask   [batch, words], 1 = word, 0 = padding, on any side; None = words with any character

        Returns the Output's last_hidden_state [batch, words, 2 · projection_dim] and on demand hidden_states, the
        words' own vectors (twice, side by side) first. They are 0 at padding. InputError: inputs of another shape, an
        id out of range.
        """
        mask = self._checked_mask(input_ids, attention_mask)
        order = (~mask).long().argsort(dim=1, stable=True)  # words first, padding after them, wherever it stood
        lengths = mask.sum(1)
        text = _bounded(_rows(input_ids, order), lengths)  # [batch, words + 2, characters]
        turn = _turned(lengths, text.shape[1])
        places = order.argsort(dim=1) + 1

        def joined(ahead: Tensor, back: Tensor) -> Tensor:
            """[batch, words, 2 · projection]: both directions, without the bounds, every word in its place."""
            both = torch.cat((ahead, _rows(back, turn)), dim=-1)
            return _rows(both, places) * mask[..., None]

        ahead = self.embeddings(text)  # [batch, words + 2, projection]
        back = _rows(ahead, turn)
        seen = Recorder(output_hidden_states, attentions=False)
        seen.hidden(joined(ahead, back))
        for layer in self.layers[:-1]:
            ahead, back = layer(ahead, back)
            seen.hidden(joined(ahead, back))
        last = joined(*self.layers[-1](ahead, back))
        seen.hidden(last)
        return Output(last, hidden_states=seen.hidden_states)

    def _checked_mask(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        most = self.config.max_characters_per_token
        least = min(most, 3 + self.config.widest_filter)
        fits = input_ids.dim() == 3 and input_ids.shape[1] > 0 and least <= input_ids.shape[2] <= most
        if not fits or input_ids.dtype not in (torch.int64, torch.int32):
            raise InputError(
                f"input_ids must be integers [batch, words, {least} to {most} characters], "
                f"got {input_ids.dtype} {list(input_ids.shape)}"
            )
        if attention_mask is None:
            return (input_ids > 0).any(-1)
        if attention_mask.shape != input_ids.shape[:2]:
            wanted, got = list(input_ids.shape[:2]), list(attention_mask.shape)
            raise InputError(f"attention_mask must have the shape {wanted}, got {got}")
        return attention_mask.bool()

    def save(self, options: str | Path, weights: str | Path) -> None:
        """Write the two files that `load_elmo` reads, as published; other libraries read them too."""
        write_hdf5({KEYS.to_published(n) or n: _to_file(n, p) for n, p in self.named_parameters()}, weights)
        write_json(options, self.config.options)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """x [batch, n, size] and index [batch, m] -> [batch, m, size]: row index[b, j] of x[b]."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def _bounded(words: Tensor, lengths: Tensor) -> Tensor:
    """Texts [batch, words, characters] with the marks of begin and end around their `lengths` [batch] words."""
    _, count, characters = words.shape
    place = torch.arange(count + 2, device=words.device)[None, :, None]
    ends = lengths[:, None, None] + 1
    text = torch.cat((words[:, :1], words, words[:, :1]), dim=1)
    text = torch.where(place == 0, _mark(TEXT_BEGIN, characters, words), text)
    text = torch.where(place == ends, _mark(TEXT_END, characters, words), text)
    return text.masked_fill(place > ends, 0)


def _mark(character: int, length: int, like: Tensor) -> Tensor:
    padding = [WORD_PADDING] * (length - 3)
    return torch.tensor([WORD_BEGIN, character, WORD_END, *padding], dtype=like.dtype, device=like.device)


def _turned(lengths: Tensor, width: int) -> Tensor:
    """Which place of a text with its bounds stands where when it is read backwards; padding stays. [batch, width]"""
    place = torch.arange(width, device=lengths.device)[None]
    ends = lengths[:, None] + 1
    return torch.where(place <= ends, ends - place, place)


_CELL = "RNN/MultiRNNCell/Cell{i}/LSTMCell"
_CELL_SIZES = "'dim' and 'projection_dim' of lstm"

# Ours, published, and the options that decide its shape.
TENSORS = (
    ("embeddings.character.weight", "char_embed", "'embedding' of char_cnn"),
    ("embeddings.convolutions.{i}.weight", "CNN/W_cnn_{i}", "'filters' and 'embedding' of char_cnn"),
    ("embeddings.convolutions.{i}.bias", "CNN/b_cnn_{i}", "'filters' of char_cnn"),
    # Published as "carry" is what multiplies the transformed, Srivastava's transform gate.
    ("embeddings.highways.{i}.gate.weight", "CNN_high_{i}/W_carry", "'filters' and 'n_highway' of char_cnn"),
    ("embeddings.highways.{i}.gate.bias", "CNN_high_{i}/b_carry", "'filters' and 'n_highway' of char_cnn"),
    ("embeddings.highways.{i}.transform.weight", "CNN_high_{i}/W_transform", "'filters' and 'n_highway' of char_cnn"),
    ("embeddings.highways.{i}.transform.bias", "CNN_high_{i}/b_transform", "'filters' and 'n_highway' of char_cnn"),
    ("embeddings.projection.weight", "CNN_proj/W_proj", "'filters' of char_cnn and 'projection_dim' of lstm"),
    ("embeddings.projection.bias", "CNN_proj/b_proj", "'projection_dim' of lstm"),
    ("layers.{i}.left_to_right.gates.weight", f"RNN_0/{_CELL}/W_0", _CELL_SIZES),
    ("layers.{i}.left_to_right.gates.bias", f"RNN_0/{_CELL}/B", _CELL_SIZES),
    ("layers.{i}.left_to_right.projection.weight", f"RNN_0/{_CELL}/W_P_0", _CELL_SIZES),
    ("layers.{i}.right_to_left.gates.weight", f"RNN_1/{_CELL}/W_0", _CELL_SIZES),
    ("layers.{i}.right_to_left.gates.bias", f"RNN_1/{_CELL}/B", _CELL_SIZES),
    ("layers.{i}.right_to_left.projection.weight", f"RNN_1/{_CELL}/W_P_0", _CELL_SIZES),
)
KEYS = KeyMap(tuple((ours, published) for ours, published, _ in TENSORS))

# How the published names of one of several equal parts begin, and the option that says how many there are.
PARTS = (
    (r"RNN_[01]/RNN/MultiRNNCell/Cell\d+/", "'n_layers' of lstm"),
    (r"CNN_high_\d+/", "'n_highway' of char_cnn"),
    (r"CNN/[Wb]_cnn_\d+", "'filters' of char_cnn"),
)


def _to_file(name: str, value: Tensor) -> Tensor:
    """Our parameter `name` as files lay it out."""
    if name == "embeddings.character.weight":
        return value[1:]  # the row of id 0, all zeros, is not stored
    if value.dim() == 3:
        return value.permute(2, 1, 0)[None]  # a convolution's [out, in, width] -> [1, width, in, out]
    return value.t()  # a matrix's [out, in] -> [in, out]; a vector stays


def _from_file(name: str, value: Tensor) -> Tensor:
    """The reverse of `_to_file`."""
    if name == "embeddings.character.weight":
        return torch.cat((value.new_zeros(1, value.shape[1]), value))
    return value[0].permute(2, 1, 0) if value.dim() == 4 else value.t()


def load_elmo(
    options: str | Path,
    weights: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Elmo:
    """Load a published ELMo, in eval mode: `model(**model.batch([["Two", "words"]]), output_hidden_states=True)`.

    options   options.json, which says how the model is built
    weights   its HDF5 file
    dtype     type of the parameters, whatever the file's

    Raises ConfigError (a field of options.json that is absent or makes no sense), CheckpointError (a damaged file;
    missing, unexpected and mis-shaped tensors, all listed with the options that ask for them).
    """
    config = ElmoConfig.from_dict(read_json(Path(options)), str(options))
    with torch.device("meta"), LeaveEmpty():
        model = Elmo(config)
    with Hdf5Weights(Path(weights)) as file:
        problems = _problems(model, file)
        if problems:
            listed = "\n  ".join(problems)
            raise CheckpointError(f"{weights}: the weights do not fit {options}:\n  {listed}")
        names = [name for name, _ in model.named_parameters()]
        values = {n: _from_file(n, file[KEYS.to_published(n) or n]).to(device=device, dtype=dtype) for n in names}
    model.load_state_dict(values, assign=True)
    return model.eval()


def _problems(model: Elmo, file: Hdf5Weights) -> list[str]:
    """What is missing, unexpected or of another shape in the file."""
    wanted = {KEYS.to_published(n) or n: tuple(_to_file(n, p).shape) for n, p in model.named_parameters()}
    problems = []
    for name, shape in wanted.items():
        if name not in file.shapes:
            problems.append(f"{name}: missing, shape {list(shape)} by {_options_for(name, file)}")
        elif file.shapes[name] != shape:
            found = list(file.shapes[name])
            problems.append(f"{name}: shape {found} in the file, {list(shape)} by {_options_of(name)}")
    for name in file:
        if name not in wanted:
            options = _options_for(name, wanted)
            problems.append(f"{name}: unexpected, shape {list(file.shapes[name])}{options and '; none by '}{options}")
    return problems


def _options_for(published: str, others: Iterable[str]) -> str:
    """The options that decide whether there is such a tensor, which is not among `others`: where nothing of its part
    is among them, how many parts there are."""
    for part, options in PARTS:
        begins = re.match(part, published)
        if begins and not any(other.startswith(begins[0]) for other in others):
            return options
    return _options_of(published)


def _options_of(published: str) -> str:
    """The options that decide a tensor's shape; none where no ELMo has such a tensor."""
    fitting = (options for _, name, options in TENSORS if re.fullmatch(name.replace("{i}", r"\d+"), published))
    return next(fitting, "")
