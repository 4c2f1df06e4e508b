"""A trace sees what a model computes in every family, changes nothing unless asked, and changes what it is asked to."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from minitl import new_model, trace
from minitl.errors import InputError
from minitl.inspect import point_names
from minitl.inspect.edits import ablate_heads, add, patch
from minitl.models.base import Model
from minitl.models.loading import load_model
from minitl.nn.tapped import Tapped
from tests.models.saved import BERT, GPT2, LLAMA
from tests.models.test_invariants import draw_batch

CHECKPOINTS = Path(__file__).parents[1] / "reference" / "checkpoints"
FAMILIES = [
    "bert-masked-lm",
    "roberta-token-classification",
    "distilbert-masked-lm",
    "electra-replaced-token-detection",
    "deberta-v2-masked-lm",
    "deberta-v2-sequence-classification-c2p",
    "modernbert-masked-lm",
    "gpt2-causal-lm",
    "llama-causal-lm",
    "mistral-causal-lm",
    "t5-seq2seq-lm",
    "mt5-seq2seq-lm",
    "bart-seq2seq-lm",
    "mbart-seq2seq-lm",
    "pegasus-seq2seq-lm",
    "m2m_100-seq2seq-lm",
    "bert-question-answering",
]
every_family = pytest.mark.parametrize("name", FAMILIES)
IDS = torch.tensor([[3, 5, 7, 2, 9], [4, 4, 8, 1, 6]])


def model_of(name: str) -> Model:
    return load_model(CHECKPOINTS / name)


def batch_of(model: Model, length: int = 21) -> tuple[Tensor, Tensor]:
    """Long enough that ModernBERT and Mistral look at parts of it; 4 tokens of the second text are padding."""
    limit = model.position_limit or getattr(model.config, "max_position_embeddings", 99) - 2
    length = min(length, limit)
    return draw_batch(model, [length, length - 4], "right")


def answer(model: Model, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    output = model(ids, mask)
    found = output.logits if output.logits is not None else output.start_logits
    assert found is not None
    return found


def stacks(model: Model) -> list[str]:
    return ["encoder.", "decoder."] if hasattr(model, "decoder") else [""]


def assert_unwatched(model: Model) -> None:
    """Nothing is left that a forward pass would pay for."""
    for path, module in model.named_modules():
        assert not module._forward_hooks, path
        assert not isinstance(module, Tapped) or not module.watchers, path


@every_family
@pytest.mark.parametrize("gradients", [False, True])
def test_a_traced_model_answers_bit_for_bit_as_it_did(name: str, gradients: bool) -> None:
    model = model_of(name)
    ids, mask = batch_of(model)
    with torch.set_grad_enabled(gradients):
        plain = model(ids, mask)
        with trace(model) as seen:
            traced = model(ids, mask)
    for field, expected in plain.items():
        assert torch.equal(getattr(traced, field), expected), field
    assert_unwatched(model)
    assert len(list(seen)) > 10


@every_family
def test_what_is_seen_is_what_the_model_gives_out(name: str) -> None:
    model = model_of(name)
    ids, mask = batch_of(model)
    with torch.no_grad():
        given = model(ids, mask, output_hidden_states=True, output_attentions=True)
        with trace(model) as seen:
            traced = model(ids, mask)
    sides = {
        "encoder.": (given.encoder_hidden_states, given.encoder_attentions),
        "decoder.": (given.hidden_states, given.attentions),
        "": (given.hidden_states, given.attentions),
    }
    for stack in stacks(model):
        hidden, maps = (given or () for given in sides[stack])
        assert maps
        for layer, expected in enumerate(maps):
            torch.testing.assert_close(seen[f"{stack}layers.{layer}.attention.weights"], expected)
            torch.testing.assert_close(seen[f"{stack}layers.{layer}.residual.pre"], hidden[layer])
            if layer + 1 < len(maps):  # the last one is counted after the final norm
                torch.testing.assert_close(seen[f"{stack}layers.{layer}.residual.post"], hidden[layer + 1])
    for layer, expected in enumerate(given.cross_attentions or ()):
        torch.testing.assert_close(seen[f"decoder.layers.{layer}.cross_attention.weights"], expected)
    for field in ("logits", "start_logits", "end_logits"):
        assert (field in seen) == (getattr(traced, field) is not None)
        assert field not in seen or torch.equal(seen[field], getattr(traced, field))


@every_family
def test_maps_are_shares_of_attention_and_padding_gets_none(name: str) -> None:
    model = model_of(name)
    ids, mask = batch_of(model)
    with torch.no_grad(), trace(model, "*attention.weights", "*attention.scores") as seen:
        model(ids, mask)
    weights = [one for one in seen if one.endswith("weights")]
    assert len(weights) == len(model.layers) + sum("cross" in one for one in weights)
    for one in weights:
        shares = seen[one]
        torch.testing.assert_close(shares.sum(-1), torch.ones_like(shares[..., 0]))
        assert torch.equal(shares, seen[one.replace("weights", "scores")].softmax(-1))
        real = int(mask[1].sum())
        assert not shares[1, :, :real, real:].any()


@every_family
def test_a_change_of_any_point_is_what_the_model_goes_on_with(name: str) -> None:
    """Recorded and put back it gives the same answer; disturbed, another."""
    model = model_of(name)
    ids, _ = batch_of(model, 9)
    torch.manual_seed(1)
    with torch.no_grad(), trace(model) as seen:
        plain = answer(model, ids)
    for point in seen:
        recorded, noise = iter(seen.calls(point)), torch.rand_like(seen[point]) + 0.5
        with torch.no_grad():
            with trace(model, point) as again:
                again.edit(point, lambda _, recorded=recorded: next(recorded).clone())
                torch.testing.assert_close(answer(model, ids), plain)
            with trace(model, point) as again:
                again.edit(point, lambda x, noise=noise: x * noise)
                changed = answer(model, ids)
            assert point == "end_logits" or not torch.allclose(changed, plain, atol=1e-6), point


@every_family
def test_a_change_may_be_made_in_place_and_what_was_recorded_stays(name: str) -> None:
    """As users of other libraries write it: without a copy, a map that was written into would pass for unchanged."""
    model = model_of(name)
    ids, _ = batch_of(model, 9)
    points = [
        f"{stacks(model)[0]}layers.0.{point}" for point in ("residual.pre", "attention.scores", "attention.weights")
    ]
    for point in points:
        with torch.no_grad():
            with trace(model, "*embeddings") as before:
                answer(model, ids)
            with trace(model, "*embeddings") as seen:
                seen.edit(point, lambda x: x.mul_(0.5))
                changed = answer(model, ids)
            with trace(model, point) as again:
                again.edit(point, lambda x: x * 0.5)
                assert torch.equal(changed, answer(model, ids)), point
        for one in before:
            assert torch.equal(seen[one], before[one]), point


@every_family
def test_a_stream_patched_from_another_text_answers_as_the_other(name: str) -> None:
    model = model_of(name)
    if hasattr(model, "decoder"):
        pytest.skip("the decoder of another text looks at another source, too")
    (ids, _), (others, _) = batch_of(model, 9), batch_of(model, 9)
    with torch.no_grad():
        with trace(model, "layers.0.residual.post") as other:
            wanted = answer(model, others)
        with trace(model) as seen:
            seen.edit("layers.0.residual.post", patch(other["layers.0.residual.post"]))
            torch.testing.assert_close(answer(model, ids), wanted)


@every_family
def test_gradients_flow_through_what_is_recorded(name: str) -> None:
    """The answer changes along a point's gradient by as much as the gradient is long."""
    model = model_of(name).double()
    ids, _ = batch_of(model, 6)
    stack = stacks(model)[0]
    for point in ("residual.mid", "attention.scores", "attention.weights", "attention.context", "feed_forward.inner"):
        point = f"{stack}layers.0.{point}"
        with trace(model, point) as seen:
            loss = answer(model, ids).square().sum()
        (gradient,) = torch.autograd.grad(loss, seen[point])
        way = gradient / gradient.norm() * 1e-3
        ends = []
        for sign in (1, -1):
            with torch.no_grad(), trace(model) as again:
                again.edit(point, lambda x, sign=sign, way=way: x + sign * way)
                ends.append(float(answer(model, ids).square().sum()))
        assert (ends[0] - ends[1]) / 2e-3 == pytest.approx(float(gradient.norm()), rel=0.02), point


@every_family
def test_a_silent_head_is_one_whose_columns_of_the_output_are_zero(name: str) -> None:
    model = model_of(name)
    ids, _ = batch_of(model, 9)
    layer = f"{stacks(model)[-1]}layers.0.attention"
    with torch.no_grad():
        plain = answer(model, ids)
        with trace(model, f"{layer}.context") as seen:
            seen.edit(f"{layer}.context", ablate_heads(1))
            silenced = answer(model, ids)
        assert not torch.allclose(silenced, plain, atol=1e-6)
        size = seen[f"{layer}.context"].shape[-1]
        model.get_submodule(f"{layer}.output").weight[:, size : 2 * size] = 0
        torch.testing.assert_close(silenced, answer(model, ids))


def test_a_head_at_its_mean_says_the_same_of_every_token() -> None:
    x = torch.randn(2, 3, 4, 5)
    changed = ablate_heads(0, 2, mean=True)(x)
    assert torch.equal(changed[:, 1], x[:, 1])
    torch.testing.assert_close(changed[:, 0], x[:, 0].mean(dim=(0, 1)).expand(2, 4, 5))


def test_some_tokens_can_be_patched_and_moved() -> None:
    x, other, vector = torch.zeros(1, 3, 2), torch.ones(1, 3, 2), torch.tensor([2.0, 3.0])
    assert patch(other, tokens=[1])(x).tolist() == [[[0, 0], [1, 1], [0, 0]]]
    assert add(vector, tokens=[0, -1])(x).tolist() == [[[2, 3], [0, 0], [2, 3]]]
    assert add(vector)(x).tolist() == [[[2, 3]] * 3]
    with pytest.raises(InputError, match="token 3: there are 3"):
        patch(other, tokens=[3])(x)
    with pytest.raises(InputError, match="head 7: there are 2, counted from 0"):
        ablate_heads(7)(torch.zeros(1, 2, 3, 4))


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_a_change_holds_with_a_cache_as_without(config: dict[str, object]) -> None:
    model = new_model(config, "causal-lm")

    def changed(ids: Tensor, cache: object = None) -> Tensor:
        with torch.no_grad(), trace(model, "logits") as seen:
            seen.edit("layers.0.attention.value_heads", ablate_heads(0))
            seen.edit("layers.1.residual.mid", add(torch.ones(8)))
            model(ids, cache=cache)
        return seen["logits"]

    cache = model.new_cache(2, 5)
    steps = [changed(IDS[:, :2], cache), *(changed(IDS[:, i : i + 1], cache) for i in (2, 3, 4))]
    torch.testing.assert_close(torch.cat(steps, 1), changed(IDS))


def test_every_call_is_kept_and_the_last_one_is_at_hand() -> None:
    model = new_model(GPT2, "causal-lm")
    with trace(model, "layers.0.residual.post") as seen, torch.no_grad():
        model(IDS[:, :2])
        model(IDS)
    assert [tuple(x.shape) for x in seen.calls("layers.0.residual.post")] == [(2, 2, 8), (2, 5, 8)]
    assert seen["layers.0.residual.post"].shape == (2, 5, 8)


def test_traces_may_stand_inside_one_another() -> None:
    model = new_model(BERT, "masked-lm")
    point = "layers.0.residual.post"
    with torch.no_grad(), trace(model, point) as outer:
        outer.edit(point, add(torch.ones(8)))
        with trace(model, point) as inner:
            inner.edit(point, lambda x: x * 2)
            model(IDS)
        model(IDS)
    first, second = outer.calls(point)
    assert torch.equal(inner[point], first * 2)  # the inner one sees what the outer one left
    assert torch.equal(first, second)


def test_a_module_has_its_path_as_a_name_and_a_change_of_it_counts() -> None:
    model = new_model(BERT, "masked-lm")
    with torch.no_grad(), trace(model, "layers.0.attention.query", "layers.0.attention.query_heads", "logits") as seen:
        model(IDS)
        seen.edit("layers.0.attention.query", torch.zeros_like)
        model(IDS)
    before, after = seen.calls("layers.0.attention.query_heads")
    torch.testing.assert_close(before.transpose(1, 2).flatten(2), seen.calls("layers.0.attention.query")[0])
    assert not after.any()
    assert not torch.equal(*seen.calls("logits"))


def test_a_line_of_code_stands_beside_each_point() -> None:
    model = new_model(GPT2, "causal-lm")
    with torch.no_grad(), trace(model) as seen:
        model(IDS)
    file, _, line = seen.lines["layers.1.residual.mid"].partition(":")
    code = (Path(__file__).parents[2] / "minitl" / file).read_text(encoding="utf-8").splitlines()
    assert file == "models/gpt2.py"
    assert 'self.tap("residual.mid"' in code[int(line) - 1]
    assert seen.lines["layers.0.attention.weights"].startswith("nn/attention.py:")


def test_dropout_is_drawn_alike_while_a_trace_looks() -> None:
    model = new_model({**BERT, "attention_probs_dropout_prob": 0.5}, "masked-lm").train()
    answers = []
    for names in ([], ["logits"], ["*.weights"]):
        torch.manual_seed(3)
        if names:
            with trace(model, *names):
                answers.append(model(IDS).logits)
        else:
            answers.append(model(IDS).logits)
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])


def test_bad_names_and_changes_are_refused() -> None:
    model = new_model(BERT, "masked-lm")
    with pytest.raises(InputError, match=r"'layers.0.residual.middle', did you mean 'layers.0.residual.mid'"):
        trace(model, "layers.0.residual.middle").__enter__()
    with pytest.raises(InputError, match=r"no activation is called 'layers.9.\*'"), trace(model) as seen:
        seen.edit("layers.9.*", torch.zeros_like)
    shape = r"layers.0.residual.mid: a change must give a tensor of the shape \[2, 5, 8\], got \[1, 5, 8\]"
    with trace(model) as seen:
        seen.edit("layers.0.residual.mid", lambda x: x[:1])
        with pytest.raises(InputError, match=shape):
            model(IDS)
    for name in ("layers.0", "layers.0.attention", "head"):
        says = f"^{name} gives a (tuple|Output), not one tensor: ask for one of its points"
        with trace(model, "layers.*", "*.mid", "he*") as seen:
            model(IDS)  # a pattern takes what it finds
            seen.edit(name, torch.zeros_like)
            with pytest.raises(InputError, match=says):
                model(IDS)
    with trace(model) as seen:
        seen.edit("layers.0.residual.mid", patch(torch.zeros(2, 3, 8), tokens=[1]))
        with pytest.raises(InputError, match=r"a patch of the shape \[2, 3, 8\] does not fit \[2, 5, 8\]"):
            model(IDS)
    with trace(model, "logits") as seen:
        with pytest.raises(InputError, match="nothing was recorded under 'logits': did the model run"):
            seen["logits"]
        with pytest.raises(InputError, match="'embeddings' is not among what is recorded here"):
            seen["embeddings"]
    assert_unwatched(model)


def test_names_are_the_same_in_families_of_one_kind() -> None:
    def points(name: str) -> set[str]:
        model = model_of(name)
        tapped = {path for path, module in model.named_modules() if isinstance(module, Tapped)}
        return {one for one in point_names(model) if one.startswith("layers.0.") and one not in tapped
                and not isinstance(_found(model, one), torch.nn.Module)}  # fmt: skip

    kinds = ["bert-backbone", "deberta-v2-backbone", "modernbert-backbone", "gpt2-backbone", "llama-causal-lm"]
    assert all(points(name) == points(kinds[0]) for name in kinds)
    assert "layers.0.residual.mid" in points("bert-backbone")


def _found(model: Model, path: str) -> object:
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None
