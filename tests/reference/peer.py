"""The peer library's side of the comparison: tiny random models, inputs for them, and what they answer.

Imports transformers and torch and nothing of minitl, so that the expected numbers owe nothing to the code under test.
"""

import math
import random
from typing import Any

import torch
import transformers
from torch import Tensor

PREFIXES = {
    "bert": "Bert",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "distilbert": "DistilBert",
    "electra": "Electra",
    "deberta-v2": "DebertaV2",
    "gpt2": "GPT2",
    "llama": "Llama",
    "mistral": "Mistral",
    "modernbert": "ModernBert",
    "t5": "T5",
    "mt5": "MT5",
    "bart": "Bart",
    "mbart": "MBart",
    "pegasus": "Pegasus",
    "m2m_100": "M2M100",
}
SUFFIXES = {
    "backbone": "Model",
    "masked-lm": "ForMaskedLM",
    "causal-lm": "ForCausalLM",
    "seq2seq-lm": "ForConditionalGeneration",
    "sequence-classification": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
    "question-answering": "ForQuestionAnswering",
    "replaced-token-detection": "ForPreTraining",
}
ENCODERS = ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "deberta-v2", "modernbert")
DECODERS = ("gpt2", "llama", "mistral")
_COMMON = ["backbone", "sequence-classification", "token-classification", "question-answering"]
TASKS = {
    **{family: [*_COMMON, "masked-lm"] for family in ENCODERS},
    **{family: [*_COMMON, "causal-lm"] for family in DECODERS},
}
TASKS["electra"].append("replaced-token-detection")
TASKS |= {family: [*_COMMON, "seq2seq-lm"] for family in ("t5", "mt5")}
TASKS |= {
    family: ["backbone", "seq2seq-lm", "sequence-classification", "question-answering"] for family in ("bart", "mbart")
}
TASKS |= {family: ["backbone", "seq2seq-lm"] for family in ("pegasus", "m2m_100")}
ENCODER_DECODERS = ("t5", "mt5", "bart", "mbart", "pegasus", "m2m_100")
EITHER_SIDE = (*DECODERS, "t5", "mt5", "m2m_100")  # families whose texts may be padded on the left, too
# Of an encoder-decoder, a task that is given no target shifts the source, and the peer then counts padding as text.
TARGETLESS = ("sequence-classification", "question-answering")

# Training mode is compared with dropout 0: two libraries never draw the same mask.
_NO_ENCODER_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0}
_NO_BART_DROPOUT = {
    **dict.fromkeys(("dropout", "attention_dropout", "activation_dropout", "classifier_dropout"), 0.0),
    **dict.fromkeys(("encoder_layerdrop", "decoder_layerdrop"), 0.0),
}
NO_DROPOUT = {
    "bert": _NO_ENCODER_DROPOUT,
    "roberta": _NO_ENCODER_DROPOUT,
    "xlm-roberta": _NO_ENCODER_DROPOUT,
    "electra": _NO_ENCODER_DROPOUT,
    "deberta-v2": {
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "pooler_dropout": 0.0,
        "cls_dropout": 0.0,
    },
    "distilbert": {"dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0, "qa_dropout": 0.0},
    "gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "classifier_dropout": 0.0},
    "llama": {"attention_dropout": 0.0, "classifier_dropout": 0.0},
    "mistral": {"attention_dropout": 0.0, "classifier_dropout": 0.0},
    "modernbert": dict.fromkeys(("embedding_dropout", "attention_dropout", "mlp_dropout", "classifier_dropout"), 0.0),
    "t5": {"dropout_rate": 0.0, "classifier_dropout": 0.0},
    "mt5": {"dropout_rate": 0.0, "classifier_dropout": 0.0},
    **dict.fromkeys(("bart", "mbart", "pegasus", "m2m_100"), _NO_BART_DROPOUT),
}


def sides(family: str, task: str) -> tuple[str, ...]:
    """The sides on which texts may be padded for the peer."""
    either = family in EITHER_SIDE and not (family in ENCODER_DECODERS and task in TARGETLESS)
    return ("right", "left") if either else ("right",)


def model_class(family: str, task: str) -> Any:
    """The peer's class for a family and one of minitl's task names."""
    name = "GPT2LMHeadModel" if (family, task) == ("gpt2", "causal-lm") else PREFIXES[family] + SUFFIXES[task]
    return getattr(transformers, name)


def build(family: str, task: str, fields: dict[str, Any]) -> Any:
    """A peer model with random weights from torch's generator, no parameter at a value that hides a mistake."""
    config = getattr(transformers, PREFIXES[family] + "Config")(**NO_DROPOUT[family], **fields)
    model = model_class(family, task)(config)
    model.set_attn_implementation("eager")
    scatter(model)
    return model.eval()


@torch.no_grad()
def scatter(model: torch.nn.Module) -> None:
    """Move norm weights off 1 and biases off 0, and make the matrices large enough that attention has preferences."""
    embeddings = [id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(0.0, 0.2)
        elif parameter.dim() == 1:
            parameter.uniform_(0.5, 1.5)
        elif id(parameter) in embeddings:
            parameter.normal_(0.0, 0.5)
        else:
            parameter.normal_(0.0, 0.7 * parameter.shape[1] ** -0.5)
    for name, buffer in model.named_buffers():
        if name in ("final_logits_bias", "head.bias"):
            buffer.normal_(0.0, 0.2)


def draw_inputs(model: Any, lengths: list[int], side: str) -> dict[str, Tensor]:
    """Random token ids padded to the longest of `lengths` on `side`, and all else that the peer needs beside them."""
    config = model.config
    ids, mask = _draw_ids(config, lengths, side)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if getattr(config, "type_vocab_size", 0):
        inputs["token_type_ids"] = torch.randint(0, config.type_vocab_size, ids.shape)
    if config.is_encoder_decoder:
        last = mask.cumsum(-1).argmax(-1, keepdim=True)
        # Exactly one end token each, where the text ends: the peer's classifiers ask for it.
        other = next(n for n in range(3) if n not in (config.eos_token_id, config.pad_token_id))
        ids.masked_fill_((ids == config.eos_token_id) & mask.bool(), other)
        ids.scatter_(1, last, config.eos_token_id)
        if type(model).__name__.endswith(("Model", "ForConditionalGeneration")):
            names = ("decoder_input_ids", "decoder_attention_mask")
            inputs |= dict(zip(names, _draw_ids(config, [*lengths[1:], lengths[0] + 1], "right"), strict=True))
    elif side == "left" and config.model_type in DECODERS:
        inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)  # the peer counts padding unless it is told
    return inputs


def _draw_ids(config: Any, lengths: list[int], side: str) -> tuple[Tensor, Tensor]:
    """Random ids padded to the longest of `lengths`, and their mask."""
    rows, longest = len(lengths), max(lengths)
    steps, counts = torch.arange(longest), torch.tensor(lengths)[:, None]
    mask = (steps < counts if side == "right" else steps >= longest - counts).long()
    ids = torch.randint(0, config.vocab_size - 1, (rows, longest))
    ids += ids >= config.pad_token_id  # any token but the padding
    return torch.where(mask.bool(), ids, config.pad_token_id), mask


def draw_targets(model: Any, task: str, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the loss of `task` on `inputs` is measured against."""
    mask = inputs.get("decoder_attention_mask", inputs["attention_mask"])
    config, (rows, length) = model.config, mask.shape
    if task == "backbone":  # no loss of its own: a random direction in its outputs
        hidden = config.hidden_size
        probe = torch.randn(rows, length, hidden) * mask[..., None]
        return {"hidden_probe": probe, "pooler_probe": torch.randn(rows, hidden)}
    if task == "question-answering":
        return {name: torch.randint(0, length, (rows,)) for name in ("start_positions", "end_positions")}
    if task == "sequence-classification":
        regression = config.num_labels == 1
        return {"labels": torch.randn(rows) if regression else torch.randint(0, config.num_labels, (rows,))}
    if task == "replaced-token-detection":
        return {"labels": torch.randint(0, 2, (rows, length))}
    classes = config.num_labels if task == "token-classification" else config.vocab_size
    labels = torch.randint(0, classes, (rows, length))
    counted = mask.bool()
    if task == "causal-lm":
        counted[:, 1:] &= mask[:, :-1].bool()  # after left padding, the first token has nothing to be predicted from
    if task == "masked-lm":
        counted &= torch.rand(rows, length) < 0.5
        counted[:, 0] = True  # so that no draw leaves nothing to predict
    return {"labels": labels.masked_fill(~counted, -100)}


@torch.no_grad()
def outputs(model: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Everything the peer puts out in eval mode, under the names of minitl's Output; layers as `hidden_states.0`, …"""
    model.eval()
    result = model(**inputs, output_hidden_states=True, output_attentions=True)
    flat: dict[str, Tensor] = {}
    for name in ("last_hidden_state", "pooler_output", "logits", "start_logits", "end_logits"):
        if result.get(name) is not None:
            flat[name] = result[name]
    if result.get("encoder_last_hidden_state") is not None:
        flat["encoder_last_hidden_state"] = result["encoder_last_hidden_state"]
    layered = ("hidden_states", "attentions", "cross_attentions", "encoder_hidden_states", "encoder_attentions")
    for name in layered:
        tensors = result.get(name) or result.get(f"decoder_{name}") or ()
        flat.update({f"{name}.{i}": tensor for i, tensor in enumerate(tensors)})
    return flat


@torch.no_grad()
def generated(model: Any, ids: Tensor, mask: Tensor, beams: int) -> Tensor:
    """The ids that the peer writes, [batch, length]; an encoder-decoder begins with its start token, else with 2."""
    model.generation_config.forced_eos_token_id = None  # some configurations have one by default
    options = {"num_beams": beams, "max_new_tokens": 6, "do_sample": False}
    if model.config.is_encoder_decoder:
        start = model.config.decoder_start_token_id
        # Without a cache: the peer's has the encoder's depth, whatever the decoder's.
        options |= {"decoder_start_token_id": 2 if start is None else start, "use_cache": False}
    written = model.generate(input_ids=ids, attention_mask=mask, pad_token_id=model.config.pad_token_id, **options)
    return written.contiguous()


def loss_and_gradients(
    model: Any, inputs: dict[str, Tensor], targets: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The peer's own loss in training mode, and the gradient of every parameter under its published name."""
    model.train()
    model.zero_grad()
    if "hidden_probe" in targets:
        result = model(**inputs)
        loss = (result.last_hidden_state * targets["hidden_probe"]).sum()
        if result.get("pooler_output") is not None:
            loss = loss + (result.pooler_output * targets["pooler_probe"]).sum()
    else:
        loss = model(**inputs, **targets).loss
    loss.backward()
    model.eval()
    learning = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return loss.detach(), {name: parameter.grad.clone() for name, parameter in learning.items()}


def training_lengths(task: str, lengths: list[int]) -> list[int]:
    """Lengths of the batch to train on: none padded where the loss counts, or has to be told of, the padding."""
    whole = task in ("question-answering", "replaced-token-detection")
    return [max(lengths)] * len(lengths) if whole else lengths


def draw_fields(family: str, task: str, dice: random.Random) -> dict[str, Any]:
    """A random configuration of a family: every choice that its config.json offers, at toy size."""
    draw = {
        "bert": _draw_bert,
        "roberta": _draw_roberta,
        "xlm-roberta": _draw_roberta,
        "distilbert": _draw_distilbert,
        "electra": _draw_electra,
        "deberta-v2": _draw_deberta,
        "gpt2": _draw_gpt2,
        "llama": _draw_llama,
        "mistral": _draw_mistral,
        "modernbert": _draw_modernbert,
        "t5": _draw_t5,
        "mt5": _draw_t5,
        **dict.fromkeys(("bart", "mbart", "pegasus"), _draw_bart),
        "m2m_100": _draw_m2m100,
    }[family]
    vocabulary = dice.randint(40, 90)
    chosen = draw(dice)
    fields = {"vocab_size": vocabulary, "pad_token_id": dice.randrange(vocabulary)} | chosen
    fields |= {"bos_token_id": dice.randrange(vocabulary), "eos_token_id": dice.randrange(vocabulary)}
    if family in ENCODER_DECODERS and fields["eos_token_id"] == fields["pad_token_id"]:
        fields["eos_token_id"] = (fields["pad_token_id"] + 1) % vocabulary  # the end is text, which padding is not
    if task.endswith("classification"):
        fields["num_labels"] = dice.randint(1 if task.startswith("sequence") else 2, 5)
        if family == "bart" and fields["num_labels"] == 2:
            fields["num_labels"] = 3  # the peer does not write down two unnamed labels, and then reads three
    return fields


def _draw_bert(dice: random.Random) -> dict[str, Any]:
    heads = dice.choice([1, 2, 3, 5])
    return {
        "hidden_size": heads * dice.randint(4, 9),
        "num_attention_heads": heads,
        "num_hidden_layers": dice.randint(1, 3),
        "intermediate_size": dice.randint(17, 60),
        "max_position_embeddings": dice.randint(16, 40),
        "type_vocab_size": dice.randint(1, 3),
        "hidden_act": dice.choice(["gelu", "gelu_new", "relu", "silu"]),
        "layer_norm_eps": dice.choice([1e-12, 1e-5, 1e-3]),
    }


def _draw_roberta(dice: random.Random) -> dict[str, Any]:
    """BERT's choices; positions begin behind the padding's id, which is therefore a small one."""
    pad = dice.randint(0, 3)
    return _draw_bert(dice) | {"pad_token_id": pad, "max_position_embeddings": dice.randint(17, 40) + pad}


def _draw_electra(dice: random.Random) -> dict[str, Any]:
    fields = _draw_bert(dice)
    return fields | {"embedding_size": dice.choice([fields["hidden_size"], dice.randint(5, 30)])}


def _draw_deberta(dice: random.Random) -> dict[str, Any]:
    """BERT's choices; distances beside positions or instead of them, in buckets or not, as far as a text or not."""
    fields = _draw_bert(dice) | {"type_vocab_size": dice.randint(0, 2), "legacy": dice.random() < 0.5}
    fields["pooler_hidden_act"] = dice.choice(["gelu", "relu", "tanh"])
    fields["relative_attention"] = dice.random() < 0.8
    fields["position_biased_input"] = not fields["relative_attention"] or dice.random() < 0.3
    if not fields["relative_attention"]:
        return fields | {"pos_att_type": dice.choice([None, "none", []])}
    buckets = dice.choice([-1, 3, 4, 6, 12])
    return fields | {
        "pos_att_type": dice.choice(["p2c|c2p", "c2p", "p2c", ["c2p"], ["p2c", "c2p"]]),
        "share_att_key": dice.random() < 0.5,
        "position_buckets": buckets,
        "max_relative_positions": dice.choice([-1, max(buckets, 3) // 2 + dice.randint(2, 8)]),
        "norm_rel_ebd": dice.choice(["none", "layer_norm"]),
    }


def _draw_distilbert(dice: random.Random) -> dict[str, Any]:
    heads = dice.choice([1, 2, 3, 5])
    return {
        "dim": heads * dice.randint(4, 9),
        "n_heads": heads,
        "n_layers": dice.randint(1, 3),
        "hidden_dim": dice.randint(17, 60),
        "max_position_embeddings": dice.randint(16, 40),
        "activation": dice.choice(["gelu", "relu"]),
    }


def _draw_gpt2(dice: random.Random) -> dict[str, Any]:
    heads = dice.choice([1, 2, 3, 5])
    return {
        "n_embd": heads * dice.randint(4, 9),
        "n_head": heads,
        "n_layer": dice.randint(1, 3),
        "n_inner": dice.choice([None, 19, 50]),
        "n_positions": dice.randint(16, 40),
        "activation_function": dice.choice(["gelu", "gelu_new", "relu", "silu"]),
        "layer_norm_epsilon": dice.choice([1e-12, 1e-5, 1e-3]),
        "scale_attn_weights": dice.random() < 0.8,
        "scale_attn_by_inverse_layer_idx": dice.random() < 0.5,
        "tie_word_embeddings": dice.random() < 0.8,
    }


def _draw_llama(dice: random.Random) -> dict[str, Any]:
    kv_heads, sharing, size = dice.choice([1, 2, 3]), dice.choice([1, 2, 3]), 2 * dice.randint(2, 5)
    heads = kv_heads * sharing
    rope: dict[str, Any] = {"rope_theta": dice.choice([100.0, 10000.0, 500000.0])}
    kind = rope["rope_type"] = dice.choice(["default", "linear", "llama3"])
    if kind != "default":
        rope["factor"] = dice.choice([2.0, 8.0])
    if kind == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    return {
        "hidden_size": heads * size,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": dice.choice([None, size + 2]),
        "num_hidden_layers": dice.randint(1, 3),
        "intermediate_size": dice.randint(17, 60),
        "max_position_embeddings": 64,
        "hidden_act": dice.choice(["silu", "gelu"]),
        "rms_norm_eps": dice.choice([1e-6, 1e-3]),
        "rope_parameters": rope,
        "attention_bias": dice.random() < 0.5,
        "mlp_bias": dice.random() < 0.5,
        "tie_word_embeddings": dice.random() < 0.5,
    }


def _draw_mistral(dice: random.Random) -> dict[str, Any]:
    """Llama's choices but the biases, and a window: none, one that most texts outgrow, or one that none does."""
    fields = _draw_llama(dice)
    del fields["attention_bias"], fields["mlp_bias"]
    return fields | {"sliding_window": dice.choice([None, dice.randint(2, 8), 30])}  # the peer's cache needs two


def _draw_modernbert(dice: random.Random) -> dict[str, Any]:
    heads, layers = dice.choice([1, 2, 3]), dice.randint(1, 4)
    kinds = ["full_attention", "sliding_attention"]
    thetas = [dice.choice([100.0, 10000.0, 160000.0]) for _ in kinds]
    older: dict[str, Any] = {
        "global_attn_every_n_layers": dice.randint(1, 3),
        "global_rope_theta": thetas[0],
        "local_rope_theta": thetas[1],
    }
    newer: dict[str, Any] = {
        "layer_types": [dice.choice(kinds) for _ in range(layers)],
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in zip(kinds, thetas, strict=True)
        },
    }
    return dice.choice([older, newer]) | {
        "hidden_size": heads * 2 * dice.randint(2, 5),
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "intermediate_size": dice.randint(17, 60),
        "max_position_embeddings": 64,
        "local_attention": dice.randint(1, 14),
        "hidden_activation": dice.choice(["gelu", "relu", "silu"]),
        "norm_eps": dice.choice([1e-5, 1e-3]),
        "norm_bias": dice.random() < 0.5,
        "attention_bias": dice.random() < 0.5,
        "mlp_bias": dice.random() < 0.5,
        "decoder_bias": dice.random() < 0.5,
        "classifier_bias": dice.random() < 0.5,
        "classifier_activation": dice.choice(["gelu", "relu", "silu"]),
        "classifier_pooling": dice.choice(["cls", "mean"]),
        "tie_word_embeddings": dice.random() < 0.8,
    }


def _draw_t5(dice: random.Random) -> dict[str, Any]:
    heads, buckets = dice.choice([1, 2, 3]), dice.choice([4, 6, 8, 32])
    return {
        "d_model": dice.randint(8, 24),
        "d_kv": dice.randint(3, 8),
        "d_ff": dice.randint(17, 60),
        "num_layers": dice.randint(1, 3),
        "num_decoder_layers": dice.choice([None, 1, 2, 3]),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "relative_attention_max_distance": buckets // 2 + dice.randint(1, 9),
        "feed_forward_proj": dice.choice(["relu", "gated-gelu", "gated-silu", "gelu"]),
        "layer_norm_epsilon": dice.choice([1e-6, 1e-3]),
        "decoder_start_token_id": dice.randint(0, 3),
        "tie_word_embeddings": dice.random() < 0.5,
    }


def _draw_bart(dice: random.Random) -> dict[str, Any]:
    """BART's choices, which are mBART's and Pegasus' too."""
    heads = [dice.choice([1, 2, 3, 5]) for _ in range(2)]
    return {
        "d_model": math.lcm(*heads) * dice.choice([4, 5] if max(heads) < 5 else [2, 3]),
        "encoder_layers": dice.randint(1, 3),
        "decoder_layers": dice.randint(1, 3),
        "encoder_attention_heads": heads[0],
        "decoder_attention_heads": heads[1],
        "encoder_ffn_dim": dice.randint(17, 60),
        "decoder_ffn_dim": dice.randint(17, 60),
        "max_position_embeddings": dice.randint(16, 40),
        "activation_function": dice.choice(["gelu", "relu", "silu", "gelu_new"]),
        "scale_embedding": dice.random() < 0.5,
        "decoder_start_token_id": dice.randint(0, 3),
    }


def _draw_m2m100(dice: random.Random) -> dict[str, Any]:
    """BART's choices; positions begin behind the padding's id, which is therefore a small one."""
    pad = dice.randint(0, 3)
    start = (pad + dice.randint(1, 3)) % 4  # which the peer would take for padding if it had padding's id
    return _draw_bart(dice) | {"pad_token_id": pad, "decoder_start_token_id": start}
