"""Write the tiny ELMo that the tests compare with, as AllenNLP, the published PyTorch implementation, computes it:

    pip install torch==2.13.0 h5py==3.16.0 safetensors==0.8.0 && pip install --no-deps allennlp==2.10.1
    python -m tests.reference.make_elmo

AllenNLP was archived in 2022 and asks for libraries of that time. Its ELMo needs none of them, so whatever is not
installed is replaced by an empty module on import; h5py, NumPy and torch are real. tests/reference/elmo/ gets

    options.json, weights.hdf5   a random model in the published layout, with clips that about one value in ten reaches
    expected.safetensors
        inputs.*                 character ids [texts, words, 50] of texts of different lengths, and the words' mask
        hidden_states.*          each layer without the sentence's bounds; mixed: their weighted sum
        mix.*                    the weights of that sum
        loss_probe               loss = (mixed · loss_probe).sum()
        gradients.*              of the loss, by the published name of each tensor, laid out as in the file
    texts.json                   the words, and the versions that wrote all this
"""

import importlib.abc
import importlib.machinery
import json
import sys
import types
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

FOLDER = Path(__file__).parent / "elmo"
OPTIONS: dict[str, Any] = {
    "lstm": {
        "use_skip_connections": True,
        "projection_dim": 7,
        "cell_clip": 0.4,
        "proj_clip": 0.15,
        "dim": 12,
        "n_layers": 2,
    },
    "char_cnn": {
        "activation": "relu",
        "filters": [[1, 4], [2, 6], [3, 8]],
        "n_highway": 2,
        "embedding": {"dim": 5},
        "n_characters": 262,
        "max_characters_per_token": 50,
    },
}
TEXTS = [
    ["The", "bank", "of", "the", "river", "Übermaß", "東京", "."],
    ["A", "word" * 20, "<S>"],
    ["One"],
    ["naïve", "café", "," * 48, "é" * 30, "🙂"],
]
GATES = [
    0,
    2,
    1,
    3,
]  # AllenNLP's gates are input, forget, candidate, output; the file's input, candidate, forget, output


class _Anything(types.ModuleType):
    """A module of which every name is an empty class."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda *_args, **_kwargs: None})


class _Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives an empty module for each that no other finder has found; asked last, and for AllenNLP's imports alone."""

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        return None if name.split(".")[0] in ("allennlp", "torch") else importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = _Anything(spec.name)
        module.__path__ = []
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def weights(generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Random tensors in the published layout."""
    lstm, cnn = OPTIONS["lstm"], OPTIONS["char_cnn"]
    size, cell, projected = cnn["embedding"]["dim"], lstm["dim"], lstm["projection_dim"]
    joined = sum(count for _, count in cnn["filters"])
    shapes: dict[str, tuple[int, ...]] = {"char_embed": (261, size)}
    for i, (width, count) in enumerate(cnn["filters"]):
        shapes |= {f"CNN/W_cnn_{i}": (1, width, size, count), f"CNN/b_cnn_{i}": (count,)}
    for i in range(cnn["n_highway"]):
        for part in ("carry", "transform"):
            shapes |= {f"CNN_high_{i}/W_{part}": (joined, joined), f"CNN_high_{i}/b_{part}": (joined,)}
    shapes |= {"CNN_proj/W_proj": (joined, projected), "CNN_proj/b_proj": (projected,)}
    for direction in range(2):
        for i in range(lstm["n_layers"]):
            root = f"RNN_{direction}/RNN/MultiRNNCell/Cell{i}/LSTMCell/"
            shapes |= {
                root + "W_0": (2 * projected, 4 * cell),
                root + "B": (4 * cell,),
                root + "W_P_0": (cell, projected),
            }
    return {name: (0.25 * generator.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


def gradients(elmo: Any) -> dict[str, Tensor]:
    """AllenNLP's gradients under the published names, turned, split and signed as the file has the tensors."""
    model = elmo._elmo_lstm
    words, lstm = model._token_embedder, model._elmo_lstm
    found = {"char_embed": words._char_embedding_weights.grad[1:]}
    for i, convolution in enumerate(words._convolutions):
        found[f"CNN/W_cnn_{i}"] = convolution.weight.grad.permute(2, 1, 0)[None]
        found[f"CNN/b_cnn_{i}"] = convolution.bias.grad
    for i, highway in enumerate(words._highways._layers):
        for part, sign, weight, bias in zip(
            ("transform", "carry"), (1, -1), highway.weight.grad.chunk(2), highway.bias.grad.chunk(2), strict=True
        ):
            found |= {f"CNN_high_{i}/W_{part}": sign * weight.t(), f"CNN_high_{i}/b_{part}": sign * bias}
    found |= {"CNN_proj/W_proj": words._projection.weight.grad.t(), "CNN_proj/b_proj": words._projection.bias.grad}
    for direction, layers in enumerate((lstm.forward_layers, lstm.backward_layers)):
        for i, cell in enumerate(layers):
            root = f"RNN_{direction}/RNN/MultiRNNCell/Cell{i}/LSTMCell/"
            both = torch.cat((cell.input_linearity.weight.grad, cell.state_linearity.weight.grad), dim=1)
            found[root + "W_0"] = both.unflatten(0, (4, -1))[GATES].flatten(0, 1).t()
            found[root + "B"] = cell.state_linearity.bias.grad.unflatten(0, (4, -1))[GATES].flatten()
            found[root + "W_P_0"] = cell.state_projection.weight.grad.t()
    return found


def main() -> None:
    finder = _Absent()
    sys.meta_path.append(finder)
    from allennlp import version
    from allennlp.data.token_indexers.elmo_indexer import ELMoCharacterMapper
    from allennlp.modules import elmo as allennlp
    from allennlp.nn.util import remove_sentence_boundaries

    sys.meta_path.remove(finder)
    allennlp.cached_path = lambda path: path  # it would download, were it no local file
    sys.modules["allennlp.modules.elmo_lstm"].cached_path = allennlp.cached_path

    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "options.json").write_text(json.dumps(OPTIONS, indent=2) + "\n")
    with h5py.File(FOLDER / "weights.hdf5", "w") as file:
        for name, value in weights(np.random.default_rng(0)).items():
            file.create_dataset(name, data=value)
    torch.manual_seed(0)
    elmo = allennlp.Elmo(FOLDER / "options.json", FOLDER / "weights.hdf5", 1, requires_grad=True, dropout=0.0)
    for parameter in elmo.scalar_mix_0.parameters():
        torch.nn.init.uniform_(parameter, 0.5, 1.5)

    ids = torch.zeros(len(TEXTS), max(map(len, TEXTS)), 50, dtype=torch.long)
    for row, text in zip(ids, TEXTS, strict=True):
        for i, word in enumerate(text):
            row[i] = torch.tensor(ELMoCharacterMapper().convert_word_to_char_ids(word))
    output = elmo(ids)
    (mixed,) = output["elmo_representations"]
    probe = torch.randn_like(mixed) * output["mask"][..., None]
    (mixed * probe).sum().backward()
    elmo._elmo_lstm._elmo_lstm._states = None  # it would go on where the last batch ended
    layers = elmo._elmo_lstm(ids)
    expected = {
        "inputs.input_ids": ids,
        "inputs.attention_mask": output["mask"].long(),
        "mixed": mixed,
        "loss_probe": probe,
    }
    for i, layer in enumerate(layers["activations"]):
        expected[f"hidden_states.{i}"] = remove_sentence_boundaries(layer, layers["mask"])[0]
    mix = elmo.scalar_mix_0
    for name, tensors in (("mix", lambda p: p), ("gradients.mix", lambda p: p.grad)):
        expected[f"{name}.weights"] = torch.cat([tensors(p) for p in mix.scalar_parameters])
        expected[f"{name}.gamma"] = tensors(mix.gamma)[0]
    expected |= {f"gradients.{name}": gradient for name, gradient in gradients(elmo).items()}
    save_file({k: v.detach().contiguous() for k, v in expected.items()}, FOLDER / "expected.safetensors")
    versions = {"allennlp": version.VERSION, "torch": torch.__version__, "h5py": h5py.__version__}
    (FOLDER / "texts.json").write_text(json.dumps({"texts": TEXTS, "versions": versions}, indent=1) + "\n")


if __name__ == "__main__":
    main()
