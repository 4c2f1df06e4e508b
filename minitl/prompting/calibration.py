"""Calibration: a prompt has favourites whatever the text says; divide them out.

    log p(label | text) - log p(label), normalised

The second term, the prior, is the mean probability of the label over texts that say nothing ("contextual calibration":
Zhao et al. 2021, arXiv:2102.09690, whose matrix W is diagonal with 1 / p; they then take a softmax of the quotients,
where here they are divided by their sum: the ranks are the same), or over unlabelled texts of the task ("batch
calibration": Zhou et al. 2024, arXiv:2309.17249).
"""

import math

from torch import Tensor

CONTENT_FREE = ("N/A", "", "[MASK]")


def log_prior(log_probabilities: Tensor) -> Tensor:
    """The logarithm of the mean probability of each label: [texts, labels] -> [labels]."""
    return log_probabilities.logsumexp(0) - math.log(len(log_probabilities))


def calibrated(log_probabilities: Tensor, prior: Tensor) -> Tensor:
    """Log-probabilities [texts, labels] without the `prior` [labels]: a text with the prior's own becomes uniform."""
    return (log_probabilities - prior).log_softmax(-1)
