"""Added tokens: old outputs stay bit for bit, only the new rows learn, and what is saved is an ordinary checkpoint."""

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import minitl
from minitl.errors import InputError
from minitl.models.base import Model
from minitl.models.loading import load_model, new_model, save_model
from minitl.models.vocabulary import add_tokens
from minitl.nn.grown import Grown
from minitl.tokenization import Tokenizer, load_tokenizer
from tests.models.saved import BERT, GPT2

CHECKPOINTS = Path(__file__).parents[1] / "reference" / "checkpoints"
# Every embedding and every output layer; most other heads have nothing to do with the vocabulary.
PARTS = ("backbone", "-lm", "replaced-token", "bert-sequence-cl", "gpt2-sequence-cl", "t5-sequence-cl")
NAMES = sorted(path.name for path in CHECKPOINTS.iterdir() if any(part in path.name for part in PARTS))
LANGUAGE_MODELS = [name for name in NAMES if "-lm" in name]
NEW = ["<gene>", "<cell>", "<drug>"]

every_model = pytest.mark.parametrize("name", NAMES)
every_language_model = pytest.mark.parametrize("name", LANGUAGE_MODELS)


def tokenizer_of(tokens: int, folder: Path) -> Tokenizer:
    """A WordPiece tokenizer of so many tokens."""
    folder.mkdir(exist_ok=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*special, *(f"t{number}" for number in range(tokens - 5))]))
    return load_tokenizer(folder)


@pytest.fixture
def load(tmp_path):
    """load(checkpoint, spare): the model, and a tokenizer that knows all but the last `spare` of its rows."""

    def make(name: str, spare: int = 0) -> tuple[Model, Tokenizer]:
        model = load_model(CHECKPOINTS / name)
        return model, tokenizer_of(model.config.vocab_size - spare, tmp_path / "tokenizer")

    return make


def answers(model: Model, ids: Tensor) -> dict[str, Tensor]:
    """Every tensor of the output, the end token being in every row."""
    end = model.config.eos_token_id
    if isinstance(end, int):
        ids = torch.cat((ids, ids.new_full((len(ids), 1), end)), dim=1)
    with torch.no_grad():
        output = model(ids)
    return {name: value for name, value in vars(output).items() if isinstance(value, Tensor)}


def old_ids(model: Model) -> Tensor:
    return torch.randint(5, model.config.vocab_size, (3, 6))


def loss_of(model: Model, ids: Tensor) -> Tensor:
    """Something that depends on every token and every output."""
    end = model.config.eos_token_id
    if isinstance(end, int):
        ids = torch.cat((ids, ids.new_full((len(ids), 1), end)), dim=1)
    output = model(ids)
    kept = [value for value in (output.logits, output.start_logits, output.last_hidden_state) if value is not None]
    return sum((value.float() ** 2).mean() for value in kept)


def step(model: Model, ids: Tensor, steps: int = 2) -> None:
    """AdamW with a weight decay that would be seen."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model, ids).backward()
        optimizer.step()


def stored(model: Model) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.stored()}


@every_model
@pytest.mark.parametrize("train_all", [False, True])
def test_old_tokens_give_what_they_gave(load, name, train_all):
    model, tokenizer = load(name)
    ids, rows = old_ids(model), model.config.vocab_size
    before = answers(model, ids)
    assert add_tokens(model, tokenizer, NEW, train_all=train_all) == 3
    after = answers(model, ids)
    assert after.keys() == before.keys()
    for field, value in before.items():
        new = after[field][..., : value.shape[-1]]
        if train_all:
            torch.testing.assert_close(new, value)
        else:
            assert torch.equal(new, value), field
    assert model.config.vocab_size == tokenizer.vocab_size == rows + 3
    if name in LANGUAGE_MODELS:
        assert after["logits"].shape[-1] == rows + 3
    assert all(value.isfinite().all() for value in answers(model, torch.full((1, 4), rows + 2)).values())
    with pytest.raises(
        InputError, match=f"token id {rows + 3} is beyond the embedding, which has rows 0 to {rows + 2}"
    ):
        model(torch.full((1, 4), rows + 3))


@every_language_model
def test_a_new_token_begins_as_the_mean_of_the_old_ones(load, name):
    model, tokenizer = load(name)
    ids, rows = old_ids(model), model.config.vocab_size
    before = answers(model, ids)["logits"]
    add_tokens(model, tokenizer, NEW)
    new = answers(model, ids)["logits"][..., rows:]
    torch.testing.assert_close(new, before.mean(-1, keepdim=True).expand_as(new), rtol=1e-4, atol=1e-5)
    table = stored(model)["embeddings.token.weight"]
    torch.testing.assert_close(table[rows:], table[:rows].mean(0).expand(3, -1))


@every_model
def test_a_step_moves_the_new_rows_and_nothing_else(load, name):
    model, tokenizer = load(name)
    rows = model.config.vocab_size
    add_tokens(model, tokenizer, NEW)
    before = stored(model)
    step(model, torch.tensor([[5, rows, 6, rows + 1, rows + 2, 7]]))
    moved = 0
    for key, value in stored(model).items():
        old = before[key]
        if old.shape[0] == rows + 3 and not torch.equal(value, old):
            assert torch.equal(value[:rows], old[:rows]), key
            assert (value[rows:] != old[rows:]).any(-1).all() or value.dim() == 1, key
            moved += 1
        else:
            assert torch.equal(value, old), key
    assert moved


@every_model
def test_old_rows_stay_when_everything_is_opened(load, name):
    model, tokenizer = load(name)
    rows = model.config.vocab_size
    add_tokens(model, tokenizer, NEW)
    before = stored(model)
    model.requires_grad_(True)
    step(model, torch.tensor([[5, rows, 6, rows + 1, rows + 2, 7]]))
    after = stored(model)
    assert torch.equal(after["embeddings.token.weight"][:rows], before["embeddings.token.weight"][:rows])
    still = [key for key, value in after.items() if torch.equal(value, before[key]) and value.numel() > 1]
    assert len(still) < len(after) / 2


@every_language_model
def test_gradients_of_new_rows_are_those_of_the_whole_table(load, name):
    model, tokenizer = load(name)
    whole, rows = copy.deepcopy(model), model.config.vocab_size
    add_tokens(whole, copy.deepcopy(tokenizer), NEW, train_all=True)
    add_tokens(model, tokenizer, NEW)
    ids = torch.tensor([[5, rows, 6, rows + 1, rows + 2, 7]])
    for one in (model, whole):
        loss_of(one, ids).backward()
    table = whole.get_parameter("embeddings.token.weight").grad
    torch.testing.assert_close(model.get_parameter("embeddings.token.new").grad, table[rows:])
    assert table[:rows].abs().sum() > 0  # which the other model did not even compute
    assert model.get_parameter("embeddings.token.weight").grad is None


@every_model
@pytest.mark.parametrize("train_all", [False, True])
def test_what_is_saved_is_an_ordinary_checkpoint(load, name, train_all, tmp_path):
    model, tokenizer = load(name)
    rows = model.config.vocab_size
    add_tokens(model, tokenizer, NEW, train_all=train_all)
    step(model, torch.tensor([[5, rows, rows + 1, rows + 2]]))
    save_model(model, tmp_path / "saved", tokenizer)
    again = load_model(tmp_path / "saved")
    assert not any(isinstance(module, Grown) for module in again.modules())
    ours, theirs = stored(model), stored(again)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    ids = torch.randint(0, rows + 3, (3, 6))
    expected = answers(model, ids)
    for field, value in answers(again, ids).items():
        torch.testing.assert_close(value, expected[field])
    assert load_tokenizer(tmp_path / "saved").encode("x <gene>") == tokenizer.encode("x <gene>")


@every_language_model
@pytest.mark.parametrize("train_all", [False, True])
def test_what_was_tied_stays_tied(load, name, train_all):
    model, tokenizer = load(name)
    groups = model.tie_groups()
    add_tokens(model, tokenizer, NEW, train_all=train_all)
    for first, *others in groups:
        for other in others:
            assert model.get_parameter(other) is model.get_parameter(first)
            if not train_all:
                new = [path.removesuffix("weight") + "new" for path in (first, other)]
                assert model.get_parameter(new[0]) is model.get_parameter(new[1])


@every_model
def test_tables_with_spare_rows_do_not_grow(load, name):
    """T5 has 32,128 rows for 32,100 tokens."""
    model, tokenizer = load(name, spare=5)
    rows = model.config.vocab_size
    before, ids = stored(model), torch.randint(5, rows - 5, (3, 6))
    outputs = answers(model, ids)
    add_tokens(model, tokenizer, NEW)
    assert model.config.vocab_size == rows
    after = stored(model)
    table, new = after["embeddings.token.weight"], slice(rows - 5, rows - 2)
    torch.testing.assert_close(table[new], before["embeddings.token.weight"][: rows - 5].mean(0).expand(3, -1))
    step(model, torch.tensor([[5, rows - 5, rows - 4, rows - 3]]))
    moved = stored(model)["embeddings.token.weight"]
    assert (moved[new] != table[new]).any(-1).all()
    old = [number for number in range(rows) if not rows - 5 <= number < rows - 2]
    assert torch.equal(moved[old], before["embeddings.token.weight"][old])
    for field, value in answers(model, ids).items():
        assert torch.equal(value[..., : rows - 5], outputs[field][..., : rows - 5]), field


@every_language_model
def test_a_further_call_adds_to_the_rows_that_learn(load, name):
    model, tokenizer = load(name, spare=1)
    rows = model.config.vocab_size
    add_tokens(model, tokenizer, NEW[:1])
    step(model, torch.tensor([[5, rows - 1, 6]]))
    ids = torch.randint(5, rows, (2, 4))
    before, outputs = stored(model), answers(model, ids)["logits"]
    assert add_tokens(model, tokenizer, NEW) == 2
    after = stored(model)
    for key, value in before.items():
        assert torch.equal(after[key][tuple(slice(size) for size in value.shape)], value), key
    assert model.get_parameter("embeddings.token.new").shape[0] == 3
    torch.testing.assert_close(answers(model, ids)["logits"][..., :rows], outputs)
    step(model, torch.tensor([[5, rows - 1, rows, rows + 1]]))
    table = stored(model)["embeddings.token.weight"]
    assert (table[rows - 1 :] != after["embeddings.token.weight"][rows - 1 :]).any(-1).all()
    assert torch.equal(table[: rows - 1], after["embeddings.token.weight"][: rows - 1])
    assert add_tokens(model, tokenizer, ["<late>"], train_all=True) == 1
    assert not any(isinstance(module, Grown) for module in model.modules())
    assert torch.equal(stored(model)["embeddings.token.weight"][:-1], table)
    assert model.get_parameter("embeddings.token.weight").requires_grad


def test_tokens_that_the_tokenizer_knew_before_get_rows_too(load):
    model, tokenizer = load("gpt2-causal-lm")
    rows = model.config.vocab_size
    tokenizer.add_tokens(NEW[:2])
    assert add_tokens(model, tokenizer, NEW) == 1
    assert model.config.vocab_size == rows + 3
    assert model.get_parameter("embeddings.token.new").shape[0] == 3


@pytest.mark.parametrize("train_all", [False, True])
def test_known_tokens_change_nothing(load, train_all):
    model, tokenizer = load("bert-masked-lm")
    before = dict(model.named_parameters())
    assert add_tokens(model, tokenizer, ["t3", "[MASK]"], train_all=train_all) == 0
    assert add_tokens(model, tokenizer, [], train_all=train_all) == 0
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] and after[name].requires_grad for name in before)


def test_train_all_keeps_what_was_frozen(load):
    model, tokenizer = load("bert-masked-lm")
    model.embeddings.requires_grad_(False)
    add_tokens(model, tokenizer, NEW, train_all=True)
    assert not model.get_parameter("embeddings.token.weight").requires_grad
    assert model.get_parameter("head.dense.weight").requires_grad


def test_a_buffer_of_the_head_grows_too(load):
    """BART's scores have a bias [1, tokens] that is not trained."""
    model, tokenizer = load("gpt2-causal-lm")
    rows = model.config.vocab_size
    bias = torch.arange(float(rows))[None]
    model.head.register_buffer("bias", bias)
    model.head.register_buffer("other", torch.ones(2, 2))
    add_tokens(model, tokenizer, NEW)
    grown = dict(model.head.named_buffers())
    assert torch.equal(grown["bias"], torch.cat((bias, bias.mean().expand(1, 3)), dim=1))
    assert grown["other"].shape == (2, 2)


def test_a_grown_model_may_be_copied_moved_and_cast(load):
    model, tokenizer = load("bert-masked-lm")
    add_tokens(model, tokenizer, NEW)
    ids = torch.randint(5, model.config.vocab_size, (2, 5))
    expected = answers(model, ids)["logits"]
    assert torch.equal(answers(copy.deepcopy(model), ids)["logits"], expected)
    wide = answers(copy.deepcopy(model).to(torch.float64), ids)["logits"]
    assert wide.dtype == torch.float64
    torch.testing.assert_close(wide.float(), expected)


def test_a_grown_model_writes_new_tokens(load):
    model, tokenizer = load("llama-causal-lm")
    new = model.config.vocab_size
    add_tokens(model, tokenizer, ["<gene>"])
    prompt = torch.randint(5, new, (4, 3))
    with torch.no_grad():  # the new token's row is what the first prompt ends in
        model.get_parameter("head.decoder.new").copy_(1e3 * model.encode(prompt).last_hidden_state[:1, -1])
        expected = model(prompt).logits[:, -1].argmax(-1)
    written = minitl.generate(model, prompt, max_new_tokens=1)[:, -1]
    assert torch.equal(written, expected)
    assert written[0] == new


def test_it_compiles_in_one_graph(load):
    model, tokenizer = load("bert-masked-lm")
    add_tokens(model, tokenizer, NEW)
    ids = torch.randint(5, model.config.vocab_size, (2, 5))
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(ids).logits, model(ids).logits)


def test_fit_trains_new_rows_and_no_old_ones(tiny):
    from minitl.data import Example
    from minitl.tasks.sequence_classification import SequenceClassification
    from minitl.training import Settings

    model = load_model(tiny, task="sequence-classification")
    tokenizer = load_tokenizer(tiny)
    rows = model.config.vocab_size
    add_tokens(model, tokenizer, ["<gene>"])
    before = stored(model)
    train = [
        Example(f"the film <gene> {word}", label=label) for word, label in (("good", 1), ("bad", 0)) for _ in range(8)
    ]
    task = SequenceClassification(tokenizer, ["negative", "positive"])
    minitl.fit(model, train, task=task, settings=Settings(epochs=2, batch_size=8, learning_rate=1e-2, weight_decay=0.5))
    after = stored(model)
    table, old = (tensors["embeddings.token.weight"] for tensors in (after, before))
    assert torch.equal(table[:rows], old[:rows])
    assert (table[rows:] != old[rows:]).all()
    assert (after["layers.0.attention.query.weight"] != before["layers.0.attention.query.weight"]).any()


# What is refused


def test_a_model_with_adapters_is_refused(load):
    model, tokenizer = load("gpt2-causal-lm")
    minitl.add_lora(model, minitl.LoraConfig(r=2))
    size = tokenizer.vocab_size
    with pytest.raises(InputError, match="carries adapters, whose files could not hold new rows: merge or remove"):
        add_tokens(model, tokenizer, NEW)
    assert tokenizer.vocab_size == size


def test_a_grown_base_and_a_table_saved_in_full_keep_the_new_rows_too(load, tmp_path):
    model, tokenizer = load("gpt2-causal-lm")
    rows = model.config.vocab_size
    ids = torch.tensor([[5, rows, 6]])
    whole, other = copy.deepcopy(model), copy.deepcopy(tokenizer)
    add_tokens(model, tokenizer, NEW)
    step(model, ids)
    save_model(model, tmp_path / "grown")
    grown = load_model(tmp_path / "grown")
    add_tokens(whole, other, NEW, train_all=True)
    for base, saved in ((grown, None), (whole, ["wte"])):
        again = copy.deepcopy(base)
        minitl.add_lora(base, minitl.LoraConfig(r=2, target_modules="all-linear", modules_to_save=saved))
        step(base, ids)
        minitl.save_adapter(base, tmp_path / f"adapter-{saved}")
        minitl.load_adapter(again, tmp_path / f"adapter-{saved}")
        assert torch.equal(answers(again, ids)["logits"], answers(base, ids)["logits"])


def test_an_adapter_that_would_not_hold_the_grown_table_is_announced(load, tmp_path, caplog):
    model, tokenizer = load("gpt2-causal-lm")
    add_tokens(model, tokenizer, NEW, train_all=True)
    told, kept, saved = (copy.deepcopy(model) for _ in range(3))
    minitl.add_lora(told, minitl.LoraConfig(r=2))
    assert "no file holds their new rows" in caplog.text
    caplog.clear()
    minitl.add_lora(kept, minitl.LoraConfig(r=2, modules_to_save=["wte"]))
    save_model(saved, tmp_path)
    minitl.add_lora(saved, minitl.LoraConfig(r=2))
    minitl.add_lora(load_model(tmp_path), minitl.LoraConfig(r=2))
    assert not caplog.text


@every_model
def test_old_rows_are_not_counted_as_trained(load, name):
    model, tokenizer = load(name)
    add_tokens(model, tokenizer, NEW)
    learns = minitl.count_parameters(model).trainable
    assert learns == sum(p.numel() for key, p in model.named_parameters() if ".new" in key)
    model.requires_grad_(True)
    count = minitl.count_parameters(model)
    grown = [module for module in model.modules() if isinstance(module, Grown)]
    old = {
        id(part): part.numel()
        for module in grown
        for part in (module.weight, getattr(module, "bias", None))
        if part is not None
    }
    assert count.total - count.trainable == sum(old.values())


def test_an_adapter_of_a_grown_model_does_not_name_the_base_that_did_not_grow(load, tmp_path):
    model, tokenizer = load("gpt2-causal-lm")
    add_tokens(model, tokenizer, ["t3"])
    assert model.source == str(CHECKPOINTS / "gpt2-causal-lm")
    add_tokens(model, tokenizer, NEW, train_all=True)
    save_model(model, tmp_path / "grown")
    for one, base in ((model, None), (load_model(tmp_path / "grown"), str(tmp_path / "grown"))):
        minitl.add_lora(one, minitl.LoraConfig(r=2))
        minitl.save_adapter(one, tmp_path / "adapter")
        assert json.loads((tmp_path / "adapter/adapter_config.json").read_text())["base_model_name_or_path"] == base


def test_tokens_that_are_no_list_are_refused(load):
    model, tokenizer = load("bert-masked-lm")
    with pytest.raises(InputError, match="tokens must be a list, found NoneType"):
        add_tokens(model, tokenizer, None)
    for call in (lambda: tokenizer(5), lambda: tokenizer.encode_words(5)):
        with pytest.raises(InputError, match="must be a list, found int"):
            call()


def test_what_has_no_token_embedding_is_refused(tmp_path):
    tokenizer = tokenizer_of(8, tmp_path)
    with pytest.raises(InputError, match="Linear has no table of tokens that could grow"):
        add_tokens(torch.nn.Linear(2, 2), tokenizer, NEW)
    assert tokenizer.vocab_size == 8


@pytest.mark.parametrize("token", ["", "  "])
def test_a_blank_token_is_refused(load, token):
    model, tokenizer = load("bert-masked-lm")
    names = [name for name, _ in model.named_parameters()]
    with pytest.raises(InputError, match="empty or blank"):
        add_tokens(model, tokenizer, ["<gene>", token])
    assert [name for name, _ in model.named_parameters()] == names


def test_a_vocabulary_with_gaps_is_refused(tmp_path):
    """A word on two lines of vocab.txt has the later number: the first is nobody's."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "a", "b"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tokenizer = load_tokenizer(tmp_path)
    with pytest.raises(InputError, match="the ids have gaps: a new token would get the id 7 of 'b'"):
        add_tokens(new_model({**BERT, "vocab_size": 8}), tokenizer, ["<gene>"])
    assert tokenizer.add_tokens(["a"]) == 0


def test_the_mean_is_summed_in_float32(tmp_path):
    model = new_model({**GPT2, "vocab_size": 3000}, "causal-lm", dtype=torch.bfloat16)
    with torch.no_grad():
        model.get_parameter("embeddings.token.weight").fill_(1.5)
    add_tokens(model, tokenizer_of(3000, tmp_path), ["<gene>"])
    assert (model.get_parameter("embeddings.token.new") == 1.5).all()
