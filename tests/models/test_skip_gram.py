"""Skip-gram as a family: one vector for each token, whatever stands around it; saved and loaded as any other."""

from pathlib import Path

import pytest
import torch

from minitl import load_model, new_model, save_model
from minitl.errors import InputError
from minitl.models.base import Model

CONFIG = {"model_type": "skip-gram", "vocab_size": 12, "hidden_size": 6}
IDS, MASK = torch.tensor([[3, 4, 5, 0], [4, 3, 0, 0]]), torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])


@pytest.fixture
def model() -> Model:
    return new_model(CONFIG, "negative-sampling")


def test_a_token_has_one_vector_and_a_text_the_mean_of_its_own(model: Model) -> None:
    output = model(IDS, MASK, output_hidden_states=True)
    table = model.embeddings.token.weight
    assert torch.equal(output.last_hidden_state, table[IDS])
    assert torch.equal(output.hidden_states[0], table[IDS])
    assert len(output.hidden_states) == 1
    torch.testing.assert_close(output.pooler_output, torch.stack([table[[3, 4, 5]].mean(0), table[[4, 3]].mean(0)]))


def test_it_begins_as_word2vec_does(model: Model) -> None:
    table = model.embeddings.token.weight
    assert 0 < float(table.detach().abs().max()) <= 0.5 / 6
    assert not model.head.context.weight.any()
    assert not model.head.counts.any()


def test_scores_are_products_with_second_vectors(model: Model) -> None:
    torch.nn.init.normal_(model.head.context.weight)
    centres, others = torch.randn(2, 6), torch.tensor([[1, 2, 3], [4, 5, 5]])
    scores = model.head.scores(centres, others)
    expected = [[float(centres[i] @ model.head.context.weight[o]) for o in others[i]] for i in range(2)]
    torch.testing.assert_close(scores, torch.tensor(expected))


@pytest.mark.parametrize("task", ["backbone", "sequence-classification", "token-classification"])
def test_what_is_saved_is_loaded_with_any_head(model: Model, task: str, tmp_path: Path) -> None:
    model.head.counts.fill_(3.0)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert torch.equal(again.head.counts, model.head.counts)
    other = load_model(tmp_path, task)
    assert torch.equal(other.embeddings.token.weight, model.embeddings.token.weight)
    save_model(other, tmp_path / "other")
    assert torch.equal(load_model(tmp_path / "other")(IDS, MASK).last_hidden_state, other(IDS, MASK).last_hidden_state)


def test_it_knows_no_places_of_a_text(model: Model) -> None:
    with pytest.raises(InputError, match="a skip-gram model takes no position_ids"):
        model(IDS, position_ids=IDS)
