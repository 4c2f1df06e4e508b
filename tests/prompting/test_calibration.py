import torch
from hypothesis import given
from hypothesis import strategies as st

from minitl.prompting.calibration import calibrated, log_prior

ROWS = st.lists(st.lists(st.floats(-20, 5), min_size=3, max_size=3), min_size=1, max_size=6)


@given(ROWS)
def test_texts_are_uniform_on_average_over_those_that_gave_the_prior(rows: list[list[float]]):
    scores = torch.tensor(rows, dtype=torch.float64).log_softmax(-1)
    prior = log_prior(scores)
    torch.testing.assert_close(prior.exp(), scores.exp().mean(0))
    torch.testing.assert_close((scores - prior).exp().mean(0), torch.ones(3, dtype=torch.float64))
    answers = calibrated(scores, prior)
    torch.testing.assert_close(answers.exp().sum(-1), torch.ones(len(rows), dtype=torch.float64))
    by_hand = scores.exp() / prior.exp()
    torch.testing.assert_close(answers.exp(), by_hand / by_hand.sum(-1, keepdim=True))
