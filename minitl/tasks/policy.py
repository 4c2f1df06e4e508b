"""What tuning by preferences shares: the model that is tuned, one to compare it with, and how likely each finds a text.

policy      pi(y | x)       learns; x is a prompt, y a completion
reference   pi_ref(y | x)   the policy as it was; how far the policy may go from it is part of each loss
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from minitl.adapters import use_adapter
from minitl.adapters.held import ATTRIBUTE, Adapters
from minitl.errors import InputError
from minitl.models.base import Model
from minitl.tasks.instruction import Instruction
from minitl.tasks.task import NO_TARGET, E, I, Task
from minitl.tokenization import Tokenizer


class PolicyTask(Task[E, I]):
    """A task that tunes a model which writes already.

    tokenizer    from `load_tokenizer`, with an end token
    policy       the model that `fit` is given
    max_length   tokens of a row; what does not fit is cut off as `Instruction` does it
    template     what is read of a prompt, with the slot {prompt}; the completion follows
    beta         how much the policy is held to the reference
    reference    another model for it; None = the policy as it was, see `Reference`
    """

    name = "causal-lm"
    dropout = False  # a policy that differs from its reference by chance would be held to that

    def __init__(
        self,
        tokenizer: Tokenizer,
        policy: Model,
        max_length: int,
        template: str,
        beta: float,
        reference: Model | None,
    ) -> None:
        self.told = Instruction(tokenizer, max_length, template, packed=False)
        self.policy, self.beta = policy, beta
        self.reference = Reference(policy, reference)

    def refer_to(self, model: Model) -> None:
        """Compare with `model`: where a policy that was tuned in full is measured later, with what it began as."""
        self.reference = Reference(self.policy, model)


class Reference:
    """pi_ref: `frozen`, or the policy as it was: with its adapters switched off where it carries any, else a copy."""

    def __init__(self, policy: Model, frozen: Model | None = None) -> None:
        if frozen is not None and frozen.task != policy.task:
            raise InputError(f"the reference needs the policy's head, {policy.task}; it has {frozen.task}")
        self._policy, self._frozen = policy, frozen

    def settle(self) -> None:
        """Copy the policy, unless that is done, or not needed. Tasks do so in `encode`, which `fit` calls once
        adapters are placed, but before the first step and before a saved state is taken up."""
        if self._frozen is None and not _carries_adapters(self._policy):
            self._frozen = copy.deepcopy(self._policy).requires_grad_(False)

    @contextmanager
    def model(self) -> Iterator[Model]:
        """The reference, at rest; afterwards the policy's adapters are as they were."""
        with torch.no_grad():
            if self._frozen is not None:
                with at_rest(self._frozen):
                    yield self._frozen
                return
            adapters: Adapters = getattr(self._policy, ATTRIBUTE)
            active = adapters.rows if adapters.rows is not None else adapters.active
            use_adapter(self._policy, None)
            try:
                with at_rest(self._policy):
                    yield self._policy
            finally:
                use_adapter(self._policy, active)


def _carries_adapters(model: Model) -> bool:
    return getattr(model, ATTRIBUTE, None) is not None


@contextmanager
def at_rest(model: Model) -> Iterator[None]:
    """The model in eval mode: no dropout."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def token_log_probs(logits: Tensor, tokens: Tensor) -> Tensor:
    """log p of each token to come: logits [rows, length, vocabulary], tokens [rows, length] -> float32 [rows, length],
    0 where there is NO_TARGET, so that a sum over a row is log pi(y | x)."""
    here = tokens != NO_TARGET
    found = -F.cross_entropy(logits[here].float(), tokens[here], reduction="none")  # [targets]
    return torch.zeros(tokens.shape, device=logits.device).masked_scatter(here, found)
