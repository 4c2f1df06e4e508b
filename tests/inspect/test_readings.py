"""What is read off a model: lens, rollout, attributions, an adapter's change; and all of it together."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from minitl import LoraConfig, add_lora, load_model, load_tokenizer, merge_lora, new_model, trace
from minitl.errors import InputError
from minitl.inspect.adapter_change import AdapterChange, adapter_changes
from minitl.inspect.attribution import EMBEDDINGS, gradient_times_input, integrated_gradients, states_at
from minitl.inspect.layer_attribution import attribution_by_layer
from minitl.inspect.lens import lens_of
from minitl.inspect.look import look
from minitl.inspect.maps import rollout
from minitl.inspect.texts import silent
from minitl.models.base import Model
from minitl.nn.output import Output
from tests.inspect.test_trace import CHECKPOINTS, batch_of, stacks
from tests.models.saved import BERT, GPT2, LLAMA
from tests.tasks.test_sequence_to_sequence import CONFIGS

SPEAKING = [
    "bert-masked-lm",
    "roberta-masked-lm",
    "distilbert-masked-lm",
    "electra-masked-lm",
    "deberta-v2-masked-lm",
    "modernbert-masked-lm",
    "gpt2-causal-lm",
    "llama-causal-lm",
    "mistral-causal-lm",
    "t5-seq2seq-lm",
    "bart-seq2seq-lm",
    "mbart-seq2seq-lm",
    "pegasus-seq2seq-lm",
    "m2m_100-seq2seq-lm",
]


@pytest.mark.parametrize("name", SPEAKING)
def test_the_last_layer_says_what_the_model_says(name: str) -> None:
    model = load_model(CHECKPOINTS / name)
    ids, _ = batch_of(model, 9)
    stack = stacks(model)[-1]
    with torch.no_grad(), trace(model, f"{stack}layers.*.residual.post") as seen:
        expected = model(ids).logits
        last = list(seen)[-1]
        lens = lens_of(model)
        assert torch.equal(lens(seen[last]), expected)
    assert lens.stack == stack
    assert lens.through == f"the checkpoint's own {model.task} head"


def test_without_a_head_the_embedding_reads_and_says_so() -> None:
    model = new_model(GPT2, "backbone")
    ids = torch.tensor([[3, 5, 7]])
    with torch.no_grad(), trace(model, "layers.1.residual.post") as seen:
        states = model(ids).last_hidden_state
        read = lens_of(model)(seen["layers.1.residual.post"])
    assert torch.equal(read, states @ model.embeddings.token.weight.T)
    assert "no language model's head" in lens_of(model).through


@pytest.mark.parametrize("name", ["t5-backbone", "bart-backbone"])
def test_an_embedding_reads_as_the_familys_tied_head_would(name: str) -> None:
    """T5's scales what it reads: without that, every guess would be far too sure."""
    model = load_model(CHECKPOINTS / name)
    speaking = new_model(model.config.to_dict() | {"tie_word_embeddings": True}, "seq2seq-lm")
    taken = speaking.load_state_dict(model.state_dict(), strict=False)
    assert not taken.unexpected_keys
    states = torch.randn(1, 3, lens_of(model).norm(torch.randn(1, 1, model.embeddings.token.weight.shape[1])).shape[-1])
    torch.testing.assert_close(lens_of(model)(states), lens_of(speaking)(states))


def test_an_embedding_of_another_width_reads_nothing() -> None:
    model = new_model({**BERT, "model_type": "electra", "embedding_size": 4}, "backbone")
    with pytest.raises(InputError, match="its embedding is 4 wide where its layers are 8"):
        lens_of(model)


def test_rollout_by_hand() -> None:
    first = torch.tensor([[[1.0, 0.0], [0.5, 0.5]], [[1.0, 0.0], [0.5, 0.5]]])  # two heads alike
    second = torch.tensor([[[0.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])  # on average [[.5, .5], [0, 1]]
    once, twice = rollout([first, second])
    assert once.tolist() == [[1, 0], [0.25, 0.75]]
    # ([[.5, .5], [0, 1]] + I) / 2 = [[.75, .25], [0, 1]], times the first
    assert twice.tolist() == [[0.75 + 0.0625, 0.1875], [0.25, 0.75]]


@given(seed=st.integers(0, 1000), layers=st.integers(1, 4), causal=st.booleans())
def test_rollout_shares_out_everything(seed: int, layers: int, causal: bool) -> None:
    scores = torch.randn(layers, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    if causal:
        scores = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -math.inf)
    flow = rollout(list(scores.softmax(-1)))
    for weights in flow:
        torch.testing.assert_close(weights.sum(-1), torch.ones(5))
        assert not causal or not weights.triu(1).any()


def first_logit(output: Output) -> Tensor:
    found = output.logits if output.logits is not None else output.start_logits
    assert found is not None
    return found.flatten(1)[:, 0]


FAMILIES = [*SPEAKING, "bert-sequence-classification", "deberta-v2-token-classification", "t5-question-answering"]


@pytest.mark.parametrize("name", FAMILIES)
def test_integrated_gradients_are_complete(name: str) -> None:
    """Sundararajan et al. 2017, section 3: what the tokens are owed is all that the text changes."""
    model = load_model(CHECKPOINTS / name)
    ids, _ = batch_of(model, 8)
    inputs, baseline = {"input_ids": ids[:1]}, {"input_ids": torch.full_like(ids[:1], 1)}
    if hasattr(model, "decoder"):
        inputs["decoder_input_ids"] = ids[:1]
        baseline["decoder_input_ids"] = torch.full_like(ids[:1], 1)
    found = integrated_gradients(model, inputs, first_logit, baseline)
    with torch.no_grad():
        assert found.total == pytest.approx(
            float(first_logit(model(**inputs)) - first_logit(model(**baseline))), abs=1e-5
        )
    assert found.gap <= 1e-3
    assert (found.target is None) == (not hasattr(model, "decoder"))
    assert abs(found.total) > 1e-4  # else nothing was to be shared out
    assert not any(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    "name", ["bert-masked-lm", "gpt2-causal-lm", "modernbert-masked-lm", "t5-seq2seq-lm", "bart-seq2seq-lm"]
)
def test_every_layer_holds_the_whole_answer(name: str) -> None:
    """Completeness of each cut; at the top of a stack of which the head reads one token, that token has all of it."""
    model = load_model(CHECKPOINTS / name)
    ids, _ = batch_of(model, 8)
    inputs, baseline = ({"input_ids": given} for given in (ids[:1], torch.full_like(ids[:1], 1)))
    sides = [""]
    if hasattr(model, "decoder"):
        inputs["decoder_input_ids"], baseline["decoder_input_ids"] = inputs["input_ids"], baseline["input_ids"]
        sides = ["encoder.", "decoder."]
    found = attribution_by_layer(model, inputs, first_logit, baseline)
    depths = [len(list(model.get_submodule(f"{side}layers").children())) for side in sides]
    posts = [f"{side}layers.{i}.residual.post" for side, n in zip(sides, depths, strict=True) for i in range(n)]
    assert list(found) == [f"{sides[0]}layers.0.residual.pre", *posts]
    with torch.no_grad():
        total = float(first_logit(model(**inputs)) - first_logit(model(**baseline)))
    for shares in found.values():
        assert shares.total == pytest.approx(total, abs=1e-5)
        assert shares.gap <= 1e-3
    top = found[posts[-1]]
    assert not top.source[1:].any() or top.target is not None
    if top.target is not None:  # nothing of the source is read any more, and of the target its first token
        assert not top.source.any()
        assert not top.target[1:].any()
        assert found[posts[0]].source.any()


def test_the_stream_before_the_first_layer_is_owed_what_the_embeddings_are() -> None:
    """Where nothing stands between them."""
    model = load_model(CHECKPOINTS / "bert-masked-lm")
    inputs, baseline = {"input_ids": torch.tensor([[3, 5, 7]])}, {"input_ids": torch.tensor([[1, 1, 1]])}
    lowest = attribution_by_layer(model, inputs, first_logit, baseline)["layers.0.residual.pre"]
    torch.testing.assert_close(lowest.source, integrated_gradients(model, inputs, first_logit, baseline).source)


def test_of_a_linear_answer_both_methods_give_the_weights_times_the_input() -> None:
    """F = w · the embeddings of the tokens: its gradient is w everywhere."""
    model = new_model(GPT2, "causal-lm")
    weights = torch.randn(8)
    inputs, baseline = {"input_ids": torch.tensor([[3, 5, 7]])}, {"input_ids": torch.tensor([[0, 0, 0]])}

    def answer(_: Output) -> Tensor:
        return (read[-1] @ weights).sum(-1)

    read: list[Tensor] = []
    model.layers[0].register_forward_pre_hook(lambda _, given: read.append(given[0]))
    (whole,), (empty,) = (states_at(model, given, EMBEDDINGS) for given in (inputs, baseline))
    torch.testing.assert_close(gradient_times_input(model, inputs, answer).source, (whole @ weights)[0])
    found = integrated_gradients(model, inputs, answer, baseline)
    torch.testing.assert_close(found.source, ((whole - empty) @ weights)[0])
    assert found.gap < 1e-5


def adapted(config: dict[str, object] = BERT, **options: object) -> Model:
    model = new_model(config, "sequence-classification" if config is BERT else "causal-lm")
    add_lora(model, LoraConfig(r=2, alpha=4, target_modules=["query"] if config is BERT else None, **options))
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    return model


def test_an_adapters_change_by_hand() -> None:
    model = adapted()
    changes = adapter_changes(model)
    assert [change.path for change in changes] == ["layers.0.attention.query", "layers.1.attention.query"]
    update = model.layers[1].attention.query.adapters["default"]
    delta = 2 * update.lora_B @ update.lora_A
    norm = float(delta.norm())
    assert changes[1].norm == pytest.approx(norm, rel=1e-5)
    assert changes[1].relative == pytest.approx(norm / float(model.layers[1].attention.query.weight.norm()), rel=1e-5)
    expected = torch.linalg.svdvals(delta)[:2]
    torch.testing.assert_close(torch.tensor(changes[1].singular_values), expected, rtol=1e-4, atol=1e-5)
    assert norm == pytest.approx(math.hypot(*changes[1].singular_values), rel=1e-5)


def test_how_many_directions_a_change_has() -> None:
    assert AdapterChange("", 1, 1, (3.0, 3.0, 0.0)).effective_rank == pytest.approx(2)
    assert AdapterChange("", 1, 1, (3.0,)).effective_rank == pytest.approx(1)
    shares = (0.75, 0.25)  # of the values, not of their squares
    entropy = -sum(share * math.log(share) for share in shares)
    assert AdapterChange("", 1, 1, (3.0, 1.0)).effective_rank == pytest.approx(math.exp(entropy))
    assert AdapterChange("", 0, 0, (0.0, 0.0)).effective_rank == 0


def test_a_fresh_adapter_changes_nothing_and_a_merged_one_cannot_be_told() -> None:
    model = new_model(LLAMA, "causal-lm")
    with pytest.raises(InputError, match="no adapter"):
        adapter_changes(model)
    add_lora(model, LoraConfig(r=2))
    assert all(change.norm == 0 and change.effective_rank == 0 for change in adapter_changes(model))
    merge_lora(model)
    with pytest.raises(InputError, match="unmerge_lora"):
        adapter_changes(model)


def test_dora_and_embeddings_have_changes_too() -> None:
    model = new_model(GPT2, "causal-lm")
    add_lora(model, LoraConfig(r=2, target_modules=["wte", "c_attn"], use_dora=True))
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    changes = {change.path: change for change in adapter_changes(model)}
    for path, change in changes.items():
        layer = model.get_submodule(path)
        delta = layer.adapters["default"].merged(layer.weight) - layer.weight
        torch.testing.assert_close(torch.tensor(change.singular_values), torch.linalg.svdvals(delta)[:2])
    assert "embeddings.token" in changes


def test_a_look_holds_together(tiny: Path) -> None:
    model, tokenizer = load_model(tiny, "masked-lm"), load_tokenizer(tiny)
    with torch.no_grad():
        for layer in model.layers:
            layer.feed_forward.down.weight.mul_(30)  # else all layers are alike, whatever likeness is
            layer.feed_forward.down.bias.add_(3)
    found = look(model, tokenizer, "the film was [MASK] good")
    (stack,) = found.stacks
    assert stack.tokens == ("[CLS]", "the", "film", "was", "[MASK]", "good", "[SEP]")
    assert stack.maps.shape == (3, 3, 7, 7)
    torch.testing.assert_close(stack.maps.sum(-1), torch.ones(3, 3, 7))
    torch.testing.assert_close(stack.flow.sum(-1), torch.ones(3, 7))
    assert stack.cross is None
    assert stack.cosines.shape == (3, 7)
    torch.testing.assert_close(stack.alike.diagonal(), torch.ones(4))
    torch.testing.assert_close(stack.alike, stack.alike.T)
    with torch.no_grad():
        output = model(**tokenizer(["the film was [MASK] good"]), output_hidden_states=True)
    states = torch.stack(output.hidden_states)[:, 0]
    x, y = states[1] - states[1].mean(0), states[3] - states[3].mean(0)
    similarity = (y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())  # Kornblith et al. 2019, table 1
    torch.testing.assert_close(stack.alike[1, 3], similarity)
    expected = torch.nn.functional.cosine_similarity(states[1], states[2], dim=-1)
    torch.testing.assert_close(stack.cosines[1], expected)
    scores = output.logits[0].softmax(-1)
    assert found.guesses is not None
    torch.testing.assert_close(found.guesses.probabilities[-1, :, 0], scores.amax(-1))
    assert found.guesses.words[-1][4][0] == tokenizer.id_to_token(int(scores[4].argmax()))
    assert found.question.endswith("at token 4")  # the masked one
    assert all(len(shares.source) == 7 for shares in found.attributions.values())
    steps = {step.name: step for step in found.steps}
    assert steps["layers.2.residual.mid"].shape == (1, 7, 24)
    assert steps["layers.2.residual.mid"].line.startswith("models/bert.py:")


def test_a_translators_maps_are_of_its_source_of_its_target_and_from_one_to_the_other(tiny: Path) -> None:
    tokenizer, model = load_tokenizer(tiny), new_model(CONFIGS["bart"], "seq2seq-lm")
    source, target = look(model.train(), tokenizer, "the film was good", "a fine film").stacks  # without dropout
    ids, written = (tokenizer([text])["input_ids"] for text in ("the film was good", "a fine film"))
    written = model.shift_right(written)
    with torch.no_grad():
        output = model(ids, decoder_input_ids=written, output_attentions=True)
    torch.testing.assert_close(source.maps, torch.cat(output.encoder_attentions))
    torch.testing.assert_close(target.maps, torch.cat(output.attentions))
    assert source.cross is None
    assert target.cross is not None
    torch.testing.assert_close(target.cross, torch.cat(output.cross_attentions))
    assert target.cross.shape[-2:] == (len(target.tokens), len(source.tokens))
    assert len(target.tokens) != len(source.tokens)


def test_of_a_pair_each_token_has_its_text(tiny: Path) -> None:
    tokenizer = load_tokenizer(tiny)
    found = look(load_model(tiny, "masked-lm"), tokenizer, "the film", pair="was very good")
    (stack,) = found.stacks
    assert stack.tokens == ("[CLS]", "the", "film", "[SEP]", "was", "very", "good", "[SEP]")
    assert stack.parts == (None, 0, 0, None, 1, 1, 1, None)
    model = load_model(tiny, "masked-lm")
    with torch.no_grad(), trace(model, "layers.0.attention.weights") as seen:
        model(**tokenizer(["the film"], ["was very good"]))  # token types, too
    assert torch.equal(stack.maps[0], seen["layers.0.attention.weights"][0])
    assert look(model, tokenizer, "the film").stacks[0].parts == ()


def test_a_classifier_that_reads_a_pair_on_both_sides(tiny: Path) -> None:
    model = new_model(CONFIGS["bart"], "sequence-classification", labels=["no", "yes"])
    source, target = look(model, load_tokenizer(tiny), "the film", pair="was good").stacks
    assert source.parts == (None, 0, 0, None, 1, 1, None)
    assert target.parts == ()
    assert len(target.tokens) == len(source.tokens)


def test_silence_leaves_special_tokens_alone(tiny: Path) -> None:
    tokenizer = load_tokenizer(tiny)
    ids = tokenizer(["the film"])["input_ids"]
    assert [tokenizer.id_to_token(int(i)) for i in silent(tokenizer, ids)[0]] == ["[CLS]", "[MASK]", "[MASK]", "[SEP]"]


@pytest.mark.parametrize(
    ("task", "question"),
    [
        ("backbone", "how far the mean of the token vectors"),
        ("sequence-classification", "the score of"),
        ("token-classification", "the score of LABEL_"),
        ("question-answering", "the scores of an answer from token"),
    ],
)
def test_every_head_has_a_question(tiny: Path, task: str, question: str) -> None:
    model = load_model(tiny, task)
    torch.nn.init.normal_(model.head.classifier.weight) if hasattr(model.head, "classifier") else None
    found = look(model, load_tokenizer(tiny), "the film was good")
    assert found.question.startswith(question)
    assert found.attributions["integrated gradients"].gap < 1e-3


def test_a_look_at_what_is_not_there_is_refused(tiny: Path) -> None:
    model, tokenizer = load_model(tiny, "masked-lm"), load_tokenizer(tiny)
    with pytest.raises(InputError, match="token 9: the text has 4, counted from 0"):
        look(model, tokenizer, "good film", at=9)
    with pytest.raises(InputError, match="the pair is empty"):
        look(model, tokenizer, "good film", pair=" ")
    with pytest.raises(InputError, match="a causal-lm model writes, and reads one text: no pair"):
        look(new_model(GPT2, "causal-lm"), tokenizer, "good film", pair="good")
    with pytest.raises(InputError, match="writes no target"):
        look(model, tokenizer, "good film", "film")
    with pytest.raises(InputError, match="positions"):
        look(model, tokenizer, "good " * 200)
