"""The shapes of published checkpoints: of config.json on the hub the fields that decide them.

tests/experiments/test_shapes.py holds them against tests/models/published_configs.json, and the parameters that they
give against weights/manifest.json.
"""

from typing import Any

Shape = dict[str, Any]

BERT: Shape = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
ROBERTA: Shape = BERT | {
    "model_type": "roberta",
    "vocab_size": 50265,
    "max_position_embeddings": 514,  # the first two places are not used
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
}
DISTILBERT: Shape = {
    "model_type": "distilbert",
    "vocab_size": 30522,
    "dim": 768,
    "n_layers": 6,
    "n_heads": 12,
    "hidden_dim": 3072,
    "max_position_embeddings": 512,
}
DEBERTA: Shape = BERT | {
    "model_type": "deberta-v2",
    "vocab_size": 128100,
    "type_vocab_size": 0,
    "layer_norm_eps": 1e-7,
    "relative_attention": True,
    "position_biased_input": False,
    "pos_att_type": "p2c|c2p",
    "share_att_key": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
}
BERT_LARGE: Shape = BERT | {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
XLM_ROBERTA: Shape = ROBERTA | {"model_type": "xlm-roberta", "vocab_size": 250002}
MODERNBERT: Shape = {
    "model_type": "modernbert",
    "vocab_size": 50368,
    "hidden_size": 768,
    "num_hidden_layers": 22,
    "num_attention_heads": 12,
    "intermediate_size": 1152,
    "max_position_embeddings": 8192,
    "local_attention": 128,
    "global_attn_every_n_layers": 3,
}
MISTRAL: Shape = {
    "model_type": "mistral",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 32768,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
}
CHECKPOINTS = {  # by their names in weights/manifest.json
    "bert-base-uncased": BERT,
    "roberta-base": ROBERTA,
    "distilbert-base-uncased": DISTILBERT,
    "deberta-v3-base": DEBERTA,
    "bert-large-uncased": BERT_LARGE,
    "xlm-roberta-base": XLM_ROBERTA,
    "ModernBERT-base": MODERNBERT,
    "mistral-7b-v0.1": MISTRAL,
}
