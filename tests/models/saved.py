"""Tiny random models, saved in the published layout, and ways of changing what was saved."""

import json

import torch
from safetensors.torch import load_file, save_file

from minitl.checkpoints.digest import FILE_NAME
from minitl.checkpoints.weights import SINGLE
from minitl.models.loading import new_model, save_model
from minitl.models.registry import family_of

BERT = {
    "model_type": "bert",
    "vocab_size": 24,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
}
DEBERTA = {
    **BERT,
    "model_type": "deberta-v2",
    "relative_attention": True,
    "pos_att_type": "p2c|c2p",
    "position_buckets": 4,
    "norm_rel_ebd": "layer_norm",
}
GPT2 = {"model_type": "gpt2", "vocab_size": 24, "n_positions": 16, "n_embd": 8, "n_layer": 2, "n_head": 2}
LLAMA = {
    "model_type": "llama",
    "vocab_size": 24,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 12,
    "rope_theta": 500000.0,
}
LLAMA_TIED = {**LLAMA, "tie_word_embeddings": True}
MODERNBERT = {
    "model_type": "modernbert",
    "vocab_size": 24,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "local_attention": 2,
}
CONFIGS = {
    "bert": BERT,
    "deberta-v2": DEBERTA,
    "gpt2": GPT2,
    "llama": LLAMA,
    "llama-tied": LLAMA_TIED,
    "modernbert": MODERNBERT,
}
CASES = [(name, task) for name in CONFIGS for task in ("backbone", *family_of(CONFIGS[name]["model_type"]).heads)]
PAIRS = [(name, stored, asked) for name, stored in CASES for other, asked in CASES if other == name]
IDS = torch.tensor([[1, 2, 3, 4, 5]])


def random_model(config, task="backbone", **options):
    """Every parameter away from 0 and 1, so that none can be mistaken for another or for a fresh one."""
    model = new_model(config, task, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def assert_same(loaded, expected):
    left, right = loaded.state_dict(), expected.state_dict()
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype
        assert torch.equal(left[name], right[name]), name


def rewrite(folder, change):
    """Change the tensors of a saved checkpoint, as if it came from elsewhere."""
    tensors = load_file(folder / SINGLE)
    tensors = change(tensors) or tensors
    (folder / SINGLE).unlink()  # not in place: a loaded model may be a view of it
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / SINGLE)
    (folder / FILE_NAME).unlink(missing_ok=True)


def rewrite_config(folder, **fields):
    values = json.loads((folder / "config.json").read_text())
    values.update(fields)
    (folder / "config.json").write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))


def save(tmp_path, config, task="backbone", **options):
    model = random_model(config, task, **options)
    save_model(model, tmp_path / "saved")
    return model, tmp_path / "saved"
