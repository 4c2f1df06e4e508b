"""Added tokens against the peer library: it loads what is saved, gives the same outputs, begins with the same mean."""

import random
from pathlib import Path

import pytest
import torch

from minitl import LoraConfig, add_lora, load_adapter, save_adapter
from minitl.models.loading import load_model, new_model, save_model
from minitl.models.vocabulary import add_tokens
from minitl.tokenization import Tokenizer, load_tokenizer
from tests.reference import comparison

pytestmark = pytest.mark.reference
transformers = pytest.importorskip("transformers", reason="the peer library lives in an environment of its own")

from tests.reference import peer  # noqa: E402 - it imports transformers, which may be absent

PAIRS = [(family, task) for family, tasks in peer.TASKS.items() for task in tasks]
LANGUAGE_MODELS = [(family, task) for family, task in PAIRS if task.endswith("-lm")]


def tokenizer_of(rows: int, folder: Path) -> Tokenizer:
    """A WordPiece tokenizer with a token for each row."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(str, range(rows - 5))]
    (folder / "vocab.txt").write_text("\n".join(words))
    return load_tokenizer(folder)


def grown(family: str, task: str, folder: Path, train_all: bool):
    """A model with two more tokens, trained for a step, and its tokenizer."""
    torch.manual_seed(0)
    fields = peer.draw_fields(family, task, random.Random(f"{family} {task}"))
    model = new_model({"model_type": family, **peer.NO_DROPOUT[family], **fields}, task)
    peer.scatter(model)
    rows = model.config.vocab_size
    tokenizer = tokenizer_of(rows, folder)
    assert add_tokens(model, tokenizer, ["<gene>", "<cell>"], train_all=train_all) == 2
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.5)
    end = model.config.eos_token_id  # which a classifier may look for
    model(
        torch.tensor([[5, rows, rows + 1, end if isinstance(end, int) else 6]])
    ).last_hidden_state.square().mean().backward()
    optimizer.step()
    return model, tokenizer


@pytest.mark.parametrize("train_all", [False, True])
@pytest.mark.parametrize(("family", "task"), PAIRS)
def test_the_peer_loads_what_is_saved(family: str, task: str, train_all: bool, tmp_path: Path) -> None:
    ours, tokenizer = grown(family, task, tmp_path, train_all)
    save_model(ours, tmp_path / "saved", tokenizer)
    theirs, told = peer.model_class(family, task).from_pretrained(
        tmp_path / "saved", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(told.values()), told
    inputs = peer.draw_inputs(theirs.eval(), [9, 4], "right")
    expected = peer.outputs(theirs, inputs)
    comparison.assert_below(comparison.output_errors(comparison.outputs(ours, inputs), expected, inputs), 1e-4)
    assert theirs.get_input_embeddings().weight.shape[0] == tokenizer.vocab_size
    assert (
        transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")("x <gene>")["input_ids"]
        == (tokenizer.encode("x <gene>")[0])
    )


@pytest.mark.parametrize(("family", "task"), LANGUAGE_MODELS)
def test_both_begin_with_the_mean_of_the_old_rows(family: str, task: str, tmp_path: Path) -> None:
    """The peer draws about the mean, with a billionth of the rows' variance; ours is the mean."""
    fields = peer.draw_fields(family, task, random.Random(f"{family} {task}"))
    theirs = peer.build(family, task, fields)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_model(tmp_path / "theirs")
    rows = ours.config.vocab_size
    add_tokens(ours, tokenizer_of(rows, tmp_path), ["<gene>"])
    theirs.resize_token_embeddings(rows + 1, mean_resizing=True)
    torch.testing.assert_close(
        dict(ours.stored())["embeddings.token.weight"], theirs.get_input_embeddings().weight.detach(), rtol=0, atol=1e-3
    )


# Rows of new tokens in an adapter


TYPES = {"causal-lm": "CAUSAL_LM", "sequence-classification": "SEQ_CLS"}
ADAPTED = [("gpt2", "causal-lm"), ("llama", "causal-lm"), ("bert", "sequence-classification")]


def both(family: str, task: str, folder: Path):
    """A published base, and the peer's model of it with two more rows, which it needs before an adapter brings them."""
    fields = peer.draw_fields(family, task, random.Random(f"{family} {task}"))
    peer.build(family, task, fields).save_pretrained(folder / "base")
    theirs = peer.model_class(family, task).from_pretrained(folder / "base", attn_implementation="eager")
    rows = theirs.get_input_embeddings().weight.shape[0]
    theirs.resize_token_embeddings(rows + 2)
    return load_model(folder / "base", task), theirs.eval(), rows


def output_of(theirs):
    """The output layer where it has rows of its own."""
    output, embedding = theirs.get_output_embeddings(), theirs.get_input_embeddings()
    return None if output is None or output.weight is embedding.weight else output


def agree(ours, theirs, rows: int) -> None:
    ids = torch.tensor([[5, rows, 6, rows + 1, 7]])
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, theirs(input_ids=ids).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("family", "task"), ADAPTED)
def test_the_peer_s_adapter_with_new_rows_acts_here_as_there(family: str, task: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    ours, theirs, rows = both(family, task, tmp_path)
    tables = [n for n, m in theirs.named_modules() if m in (theirs.get_input_embeddings(), output_of(theirs))]
    config = peft.LoraConfig(
        r=2, trainable_token_indices={name: [rows, rows + 1] for name in tables}, task_type=TYPES[task]
    )
    theirs = peft.get_peft_model(theirs, config)
    for name, parameter in theirs.named_parameters():
        if "lora_B" in name or "trainable_tokens" in name:
            torch.nn.init.normal_(parameter.data)
    theirs.save_pretrained(tmp_path / "adapter")
    load_adapter(ours, tmp_path / "adapter")
    agree(ours.eval(), theirs.eval(), rows)


@pytest.mark.parametrize(("family", "task"), ADAPTED)
def test_our_adapter_with_new_rows_acts_there_as_here(family: str, task: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    ours, theirs, rows = both(family, task, tmp_path)
    add_tokens(ours, tokenizer_of(rows, tmp_path), ["<gene>", "<cell>"])
    add_lora(ours, LoraConfig(r=2))
    for name, parameter in ours.named_parameters():
        if parameter.requires_grad and ("lora_B" in name or ".new" in name):
            torch.nn.init.normal_(parameter.data)
    save_adapter(ours, tmp_path / "adapter")
    theirs = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter")
    agree(ours.eval(), theirs.eval(), rows)
