"""What loading costs: memory, and what is imported."""

import shutil
import subprocess
import sys

import pytest

from minitl.models.loading import new_model, save_model

LLAMA = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 1024,
    "num_hidden_layers": 6,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "intermediate_size": 2816,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
}
BERT = {
    "model_type": "bert",
    "vocab_size": 24,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
}
LOAD_AND_WATCH = """
import sys, threading, time
import torch, safetensors.torch
from minitl.models.loading import load_model
import minitl.models.llama

def anonymous():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) * 1024

peak, done = 0, threading.Event()
def watch():
    global peak
    while not done.is_set():
        peak = max(peak, anonymous())
        time.sleep(0.0005)

before = anonymous()
watcher = threading.Thread(target=watch)
watcher.start()
model = load_model(sys.argv[1], dtype=getattr(torch, sys.argv[2]))
done.set()
watcher.join()
weights = sum(p.numel() * p.element_size() for p in model.parameters())
print((max(peak, anonymous()) - before) / weights)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RssAnon is Linux")
@pytest.mark.parametrize("task", ["causal-lm", "sequence-classification"])
def test_loading_takes_hardly_more_memory_than_the_weights(task, tmp_path):
    model = new_model(LLAMA, task)
    for shape, max_shard_bytes in (("single", 10**10), ("sharded", 10**8)):
        save_model(model, tmp_path / shape, max_shard_bytes=max_shard_bytes)
        for dtype in ("float32", "bfloat16"):
            command = [sys.executable, "-c", LOAD_AND_WATCH, str(tmp_path / shape), dtype]
            ratio = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            assert ratio <= 1.15, (shape, dtype)
        shutil.rmtree(tmp_path / shape)


def test_building_a_model_imports_none_of_the_compiler(tmp_path):
    """Random fills on the meta device would pull in sympy and more: seconds, and 80 MB."""
    save_model(new_model(BERT), tmp_path)
    code = (
        "import json, sys; from minitl.models.loading import load_model, new_model;"
        "load_model(sys.argv[1], 'masked-lm');"
        "new_model(json.load(open(sys.argv[1] + '/config.json')), 'masked-lm');"
        "print([name for name in ('sympy', 'torch._inductor') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
