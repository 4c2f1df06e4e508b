"""Write the tiny random checkpoints that the tests compare with, in the environment of the peer library:

    python -m tests.reference.make_checkpoints          (transformers and torch; minitl is not needed)

Each folder under tests/reference/checkpoints/ is a published-layout checkpoint as the peer's save_pretrained writes it,
with all biases and norm weights moved off 0 and 1, and

    expected.safetensors
        right.inputs.*    right.outputs.*      a batch padded on the right and every hidden state, attention map, logit
        left.inputs.*     left.outputs.*       the same padded on the left, where a family allows it
        training.inputs.* training.targets.*   a batch to train on, in training mode with dropout 0:
        training.loss     training.gradients.* the loss, and each parameter's gradient under its published name
        generation.1          generation.4     of models that write: the batch continued, greedy and with 4 beams
    reference.json        task, seed, and the versions that wrote it
"""

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor

from tests.reference import peer

FOLDER = Path(__file__).parent / "checkpoints"
LIMIT = 300_000  # bytes in one folder
LENGTHS = [9, 4, 6]

BERT = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
}
ROBERTA = BERT | {"vocab_size": 53, "max_position_embeddings": 18, "pad_token_id": 1, "type_vocab_size": 1}
DISTILBERT = {
    "vocab_size": 59,
    "dim": 24,
    "n_heads": 3,
    "n_layers": 2,
    "hidden_dim": 40,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
}
ELECTRA = BERT | {"embedding_size": 16}
# Version 3 in small: exact distances up to 3, then two buckets, both of which texts of 9 tokens reach.
DEBERTA = BERT | {
    "type_vocab_size": 0,
    "position_biased_input": False,
    "relative_attention": True,
    "pos_att_type": "p2c|c2p",
    "share_att_key": True,
    "position_buckets": 6,
    "norm_rel_ebd": "layer_norm",
}
# What the format offers beside: every distance up to 5, projections of their own for them, positions and types added.
DEBERTA_OTHER = BERT | {
    "type_vocab_size": 2,
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "max_relative_positions": 5,
}
GPT2 = {
    "vocab_size": 67,
    "n_embd": 24,
    "n_head": 3,
    "n_layer": 2,
    "n_positions": 16,
    "pad_token_id": 66,
    "bos_token_id": 65,
    "eos_token_id": 66,
}
LLAMA = {
    "vocab_size": 64,
    "hidden_size": 24,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "num_hidden_layers": 2,
    "intermediate_size": 36,
    "max_position_embeddings": 64,
    "pad_token_id": 3,
}
# Of four pairs a head: one turns fast and is kept, one lies on the ramp, two are slowed.
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 50.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
GROUPED = {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8, "rope_parameters": LLAMA3_ROPE}
# Of a text of nine tokens, one sees four; grouped heads, 4 : 2.
MISTRAL = LLAMA | {
    "vocab_size": 58,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "sliding_window": 4,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0},
}
# Windows small enough to hide something of nine tokens: two to either side, and blocks that the last does not fill.
MODERNBERT = {
    "vocab_size": 57,
    "hidden_size": 24,
    "num_attention_heads": 3,
    "num_hidden_layers": 3,
    "intermediate_size": 36,
    "max_position_embeddings": 64,
    "local_attention": 4,
    "global_attn_every_n_layers": 2,
    "global_rope_theta": 1000.0,
    "local_rope_theta": 50.0,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
}
# Texts of nine tokens reach the buckets that distances share: of 8 for either side together, of 8 for the past.
T5 = {
    "vocab_size": 55,
    "d_model": 18,
    "d_kv": 7,
    "d_ff": 28,
    "num_layers": 1,
    "num_decoder_layers": 2,
    "num_heads": 3,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 7,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
# Stacks that differ in everything in which they may.
BART = {
    "vocab_size": 51,
    "d_model": 18,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 22,
    "decoder_layers": 2,
    "decoder_attention_heads": 3,
    "decoder_ffn_dim": 28,
    "max_position_embeddings": 16,
    "pad_token_id": 1,
    "eos_token_id": 2,
}
MBART = BART | {"encoder_layers": 2, "decoder_layers": 1, "scale_embedding": True}
PEGASUS = MBART | {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0, "activation_function": "relu"}
M2M100 = BART | {"d_model": 12}
MODERNBERT_BIASED = MODERNBERT | {
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "hidden_activation": "silu",
    "classifier_activation": "relu",
    **dict.fromkeys(("norm_bias", "attention_bias", "mlp_bias", "classifier_bias"), True),
}

# name -> family, task, configuration
CHECKPOINTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert-backbone": ("bert", "backbone", BERT | {"num_hidden_layers": 3}),
    "bert-masked-lm": ("bert", "masked-lm", BERT | {"hidden_act": "gelu_new"}),
    "bert-sequence-classification": ("bert", "sequence-classification", BERT | {"num_labels": 3}),
    "bert-token-classification": ("bert", "token-classification", BERT | {"num_labels": 5, "type_vocab_size": 3}),
    "bert-question-answering": ("bert", "question-answering", BERT | {"hidden_act": "relu", "layer_norm_eps": 1e-3}),
    "roberta-backbone": ("roberta", "backbone", ROBERTA),
    "roberta-masked-lm": ("roberta", "masked-lm", ROBERTA | {"hidden_act": "relu"}),
    "roberta-sequence-classification": ("roberta", "sequence-classification", ROBERTA | {"num_labels": 3}),
    "roberta-token-classification": ("roberta", "token-classification", ROBERTA | {"num_labels": 4, "pad_token_id": 3}),
    "roberta-question-answering": ("roberta", "question-answering", ROBERTA | {"type_vocab_size": 2}),
    "xlm-roberta-backbone": ("xlm-roberta", "backbone", ROBERTA | {"pad_token_id": 0}),
    "xlm-roberta-masked-lm": ("xlm-roberta", "masked-lm", ROBERTA),
    "xlm-roberta-sequence-classification": ("xlm-roberta", "sequence-classification", ROBERTA | {"num_labels": 1}),
    "xlm-roberta-token-classification": ("xlm-roberta", "token-classification", ROBERTA | {"num_labels": 2}),
    "xlm-roberta-question-answering": ("xlm-roberta", "question-answering", ROBERTA),
    "distilbert-backbone": ("distilbert", "backbone", DISTILBERT | {"n_layers": 3}),
    "distilbert-masked-lm": ("distilbert", "masked-lm", DISTILBERT | {"activation": "relu"}),
    "distilbert-sequence-classification": ("distilbert", "sequence-classification", DISTILBERT | {"num_labels": 3}),
    "distilbert-token-classification": ("distilbert", "token-classification", DISTILBERT | {"num_labels": 5}),
    "distilbert-question-answering": ("distilbert", "question-answering", DISTILBERT),
    "electra-backbone": ("electra", "backbone", ELECTRA | {"embedding_size": 24}),
    "electra-replaced-token-detection": ("electra", "replaced-token-detection", ELECTRA | {"hidden_act": "relu"}),
    "electra-masked-lm": ("electra", "masked-lm", ELECTRA | {"hidden_act": "relu"}),
    "electra-sequence-classification": ("electra", "sequence-classification", ELECTRA | {"num_labels": 3}),
    "electra-token-classification": ("electra", "token-classification", ELECTRA | {"num_labels": 5}),
    "electra-question-answering": ("electra", "question-answering", ELECTRA),
    "deberta-v2-backbone": ("deberta-v2", "backbone", DEBERTA | {"num_hidden_layers": 3}),
    "deberta-v2-masked-lm": ("deberta-v2", "masked-lm", DEBERTA | {"hidden_act": "gelu_new"}),
    "deberta-v2-masked-lm-released": ("deberta-v2", "masked-lm", DEBERTA_OTHER | {"legacy": False}),
    "deberta-v2-sequence-classification": ("deberta-v2", "sequence-classification", DEBERTA | {"num_labels": 3}),
    "deberta-v2-sequence-classification-c2p": (
        "deberta-v2",
        "sequence-classification",
        DEBERTA_OTHER | {"num_labels": 1, "pos_att_type": ["c2p"], "pooler_hidden_act": "tanh"},
    ),
    "deberta-v2-token-classification": ("deberta-v2", "token-classification", DEBERTA_OTHER | {"num_labels": 5}),
    "deberta-v2-question-answering": (
        "deberta-v2",
        "question-answering",
        DEBERTA_OTHER | {"position_biased_input": False, "pos_att_type": "p2c", "position_buckets": 4},
    ),
    "gpt2-backbone": ("gpt2", "backbone", GPT2 | {"n_inner": 36, "n_layer": 3}),
    "gpt2-causal-lm": ("gpt2", "causal-lm", GPT2),
    "gpt2-causal-lm-inverse-layer": (
        "gpt2",
        "causal-lm",
        GPT2 | {"scale_attn_by_inverse_layer_idx": True, "n_inner": 36, "n_layer": 3, "activation_function": "relu"},
    ),
    "gpt2-sequence-classification": ("gpt2", "sequence-classification", GPT2 | {"num_labels": 1, "n_inner": 36}),
    "gpt2-token-classification": ("gpt2", "token-classification", GPT2 | {"num_labels": 5, "n_inner": 36}),
    "gpt2-question-answering": ("gpt2", "question-answering", GPT2 | {"n_inner": 36}),
    "llama-backbone": ("llama", "backbone", LLAMA | {"num_hidden_layers": 3}),
    "llama-causal-lm": ("llama", "causal-lm", LLAMA | GROUPED),
    "llama-causal-lm-tied": ("llama", "causal-lm", LLAMA | {"tie_word_embeddings": True}),
    "llama-causal-lm-biased": (
        "llama",
        "causal-lm",
        LLAMA
        | {
            "attention_bias": True,
            "mlp_bias": True,
            "head_dim": 10,
            "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0},
        },
    ),
    "llama-sequence-classification": ("llama", "sequence-classification", LLAMA | {"num_labels": 4}),
    "llama-token-classification": ("llama", "token-classification", LLAMA | {"num_labels": 6}),
    "llama-question-answering": ("llama", "question-answering", LLAMA | {"rope_parameters": LLAMA3_ROPE}),
    "mistral-backbone": ("mistral", "backbone", MISTRAL | {"num_hidden_layers": 3}),
    "mistral-causal-lm": ("mistral", "causal-lm", MISTRAL),
    "mistral-causal-lm-whole": ("mistral", "causal-lm", MISTRAL | {"sliding_window": None, "head_dim": 8}),
    "mistral-sequence-classification": (
        "mistral",
        "sequence-classification",
        MISTRAL | {"num_labels": 3, "sliding_window": 2},
    ),
    "mistral-token-classification": ("mistral", "token-classification", MISTRAL | {"num_labels": 5}),
    "mistral-question-answering": ("mistral", "question-answering", MISTRAL | {"sliding_window": 16}),
    "modernbert-backbone": ("modernbert", "backbone", MODERNBERT | {"num_hidden_layers": 4}),
    "modernbert-backbone-biased": ("modernbert", "backbone", MODERNBERT_BIASED),
    "modernbert-masked-lm": ("modernbert", "masked-lm", MODERNBERT),
    "modernbert-masked-lm-untied": (
        "modernbert",
        "masked-lm",
        MODERNBERT_BIASED | {"tie_word_embeddings": False, "decoder_bias": False},
    ),
    "modernbert-sequence-classification": (
        "modernbert",
        "sequence-classification",
        MODERNBERT | {"num_labels": 3, "classifier_pooling": "mean", "local_attention": 5},
    ),
    "modernbert-sequence-classification-first": (
        "modernbert",
        "sequence-classification",
        MODERNBERT_BIASED | {"num_labels": 4},
    ),
    "modernbert-token-classification": ("modernbert", "token-classification", MODERNBERT | {"num_labels": 5}),
    "modernbert-question-answering": ("modernbert", "question-answering", MODERNBERT | {"local_attention": 2}),
    "t5-backbone": ("t5", "backbone", T5),
    "t5-seq2seq-lm": ("t5", "seq2seq-lm", T5),
    "t5-seq2seq-lm-gated": (
        "t5",
        "seq2seq-lm",
        T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "num_decoder_layers": 1},
    ),
    "t5-sequence-classification": ("t5", "sequence-classification", T5 | {"num_labels": 3}),
    "t5-token-classification": ("t5", "token-classification", T5 | {"num_labels": 5, "num_layers": 3}),
    "t5-question-answering": ("t5", "question-answering", T5 | {"feed_forward_proj": "gated-silu", "num_heads": 2}),
    "mt5-backbone": ("mt5", "backbone", T5),
    "mt5-seq2seq-lm": ("mt5", "seq2seq-lm", T5 | {"decoder_start_token_id": 2}),
    "mt5-sequence-classification": ("mt5", "sequence-classification", T5 | {"num_labels": 1}),
    "mt5-token-classification": ("mt5", "token-classification", T5 | {"num_labels": 2}),
    "mt5-question-answering": ("mt5", "question-answering", T5),
    "bart-backbone": ("bart", "backbone", BART),
    "bart-seq2seq-lm": ("bart", "seq2seq-lm", BART | {"encoder_layers": 2, "decoder_layers": 1}),
    "bart-sequence-classification": ("bart", "sequence-classification", BART),  # three labels, none of them named
    "bart-question-answering": ("bart", "question-answering", BART | {"scale_embedding": True}),
    "mbart-backbone": ("mbart", "backbone", MBART),
    "mbart-seq2seq-lm": ("mbart", "seq2seq-lm", MBART | {"activation_function": "relu"}),
    "mbart-sequence-classification": ("mbart", "sequence-classification", MBART | {"num_labels": 1}),
    "mbart-question-answering": ("mbart", "question-answering", MBART | {"scale_embedding": False}),
    "pegasus-backbone": ("pegasus", "backbone", PEGASUS | {"encoder_attention_heads": 1}),
    "pegasus-seq2seq-lm": ("pegasus", "seq2seq-lm", PEGASUS),
    "m2m_100-backbone": ("m2m_100", "backbone", M2M100 | {"scale_embedding": False, "activation_function": "gelu"}),
    "m2m_100-seq2seq-lm": ("m2m_100", "seq2seq-lm", M2M100),
}


def expected(model: Any, task: str) -> dict[str, Tensor]:
    """The tensors of expected.safetensors."""
    tensors: dict[str, Tensor] = {}

    def note(group: str, values: dict[str, Tensor]) -> None:
        tensors.update(
            {f"{group}.{name}": value.clone(memory_format=torch.contiguous_format) for name, value in values.items()}
        )

    for side in peer.sides(model.config.model_type, task):
        inputs = peer.draw_inputs(model, LENGTHS, side)
        note(f"{side}.inputs", inputs)
        note(f"{side}.outputs", peer.outputs(model, inputs))
    inputs = peer.draw_inputs(model, peer.training_lengths(task, LENGTHS), "right")
    targets = peer.draw_targets(model, task, inputs)
    loss, gradients = peer.loss_and_gradients(model, inputs, targets)
    note("training.inputs", inputs)
    note("training.targets", targets)
    note("training.gradients", gradients)
    tensors["training.loss"] = loss
    if task in ("causal-lm", "seq2seq-lm"):
        side = "left" if task == "causal-lm" else "right"
        for beams in (1, 4):
            tensors[f"generation.{beams}"] = peer.generated(
                model, tensors[f"{side}.inputs.input_ids"], tensors[f"{side}.inputs.attention_mask"], beams
            )
    return tensors


def make(name: str) -> int:
    """Write one folder; returns its size in bytes."""
    family, task, fields = CHECKPOINTS[name]
    seed = zlib.crc32(name.encode())
    torch.manual_seed(seed)
    model = peer.build(family, task, fields)
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_file(expected(model, task), folder / "expected.safetensors")
    about = {"task": task, "seed": seed, "transformers": transformers.__version__, "torch": torch.__version__}
    (folder / "reference.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return sum(file.stat().st_size for file in folder.iterdir())


def main() -> None:
    torch.set_num_threads(1)  # one order of summation, the same digits every time
    sizes = {name: make(name) for name in CHECKPOINTS}
    for name, size in sizes.items():
        print(f"{size:8,d}  {name}{'  TOO LARGE' if size > LIMIT else ''}")
    print(f"{sum(sizes.values()):8,d}  in all")


if __name__ == "__main__":
    main()
