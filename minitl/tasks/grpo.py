"""Group relative policy optimisation (Shao et al. 2024, "DeepSeekMath", section 4.1): RLHF without a value model.

prompt ─ policy, G draws ─► completions ─ reward ─► r_1 … r_G ─ (r - mean) / std ─► advantages, one a completion
                                 │                                                     │
                                 └─ policy, reference ─► log p of each token ──────────┴─► loss

Each batch of completions is drawn for one update of the policy, and not used again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minitl.data import Example
from minitl.errors import DataError, InputError
from minitl.generation import generate
from minitl.models.base import Model
from minitl.nn.output import Output
from minitl.tasks.instruction import Ids, Told, completed
from minitl.tasks.policy import PolicyTask, at_rest, token_log_probs
from minitl.tasks.rewards import Reward
from minitl.tasks.task import NO_TARGET, TrainingBatch
from minitl.tokenization import Tokenizer

LEAST_SPREAD = 1e-4  # added to a group's standard deviation: rewards that differ by less than that hardly differ

Gained = tuple[float, float]  # of a prompt: the mean reward of its completions, and their mean KL estimate


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A prompt: its text, and its ids as the policy reads them."""

    text: str
    ids: Ids

    @property
    def length(self) -> int:
        return len(self.ids)


class GRPO(PolicyTask[Example, Asked]):
    """loss = the mean over a completion's tokens of beta · KL - min(ratio · A, clip(ratio) · A), summed over the
    completions (the same, equation 3).

    reward           how good a completion is
    group            completions of a prompt, G
    max_new_tokens   of a completion
    clip             how far from 1 a ratio may go, epsilon; as each completion serves one update, in which the policy
                     that drew it is the one that learns, all ratios are 1 there, and the gradient is A · grad log pi

    The other options are those of `PolicyTask`; an `Example`'s text is the prompt. Completions are drawn from the
    policy itself, neither sharpened nor cut, without dropout, by torch's generator. Metrics are of new draws, the same
    ones in each evaluation of the same policy. InputError: a number out of range.
    """

    metric = "reward"
    redraws = True
    writes = True

    def __init__(
        self,
        tokenizer: Tokenizer,
        policy: Model,
        reward: Reward,
        max_length: int = 512,
        template: str = "{prompt}",
        beta: float = 0.04,
        group: int = 8,
        max_new_tokens: int = 64,
        clip: float = 0.2,
        reference: Model | None = None,
    ) -> None:
        rules = (
            ("beta", beta >= 0, "at least 0", beta),
            ("group", group >= 2, "at least 2", group),
            ("max_new_tokens", 1 <= max_new_tokens < max_length, f"from 1 to {max_length - 1}", max_new_tokens),
            ("clip", 0 < clip < 1, "between 0 and 1", clip),
        )
        for name, holds, wanted, value in rules:
            if not holds:
                raise InputError(f"{name} must be {wanted}, got {value}")
        super().__init__(tokenizer, policy, max_length, template, beta, reference)
        self.tokenizer, self.reward = tokenizer, reward
        self.group, self.max_new_tokens, self.clip = group, max_new_tokens, clip

    def check_example(self, example: Example) -> str | None:
        return None if example.text.strip() else "an empty prompt"

    def is_labelled(self, example: Example) -> bool:  # noqa: ARG002
        return True  # the reward says what is right

    def encode(self, examples: Sequence[Example]) -> list[Asked]:
        self.reference.settle()
        room, start = self.told.max_length - self.max_new_tokens, self.tokenizer.bos_token_id
        items = []
        rows = self.tokenizer.bare_rows([self.told.asked(example.text) for example in examples])
        for example, (ids, _) in zip(examples, rows, strict=True):
            ids = ids[-room:]
            if start is not None and len(ids) < room:
                ids = np.insert(ids, 0, start)
            items.append(Asked(example.text, ids))
        return items

    def collate(self, items: Sequence[Asked]) -> TrainingBatch:
        """Draw and judge: each prompt with `group` completions, a row each, those of a prompt side by side.

        "tokens" and "reference" [rows, length], what is to be said next and the reference's log p of it; "rewards" and
        "advantages" [rows].
        """
        asked = [item for item in items for _ in range(self.group)]
        answers = self.draw(asked)
        rewards = self._rewards(asked, answers)
        inputs, targets = self.told.collate([Told((completed(a.ids, c),)) for a, c in zip(asked, answers, strict=True)])
        with self.reference.model() as model:
            there = TrainingBatch(inputs, targets).to(next(model.parameters()).device)
            said = token_log_probs(model(**there.inputs).logits, there.targets["tokens"]).to("cpu")
        said_and_judged = {"reference": said, "rewards": rewards, "advantages": advantages(rewards, self.group)}
        return TrainingBatch(inputs, {**targets, **said_and_judged})

    def draw(self, asked: Sequence[Asked]) -> list[Ids]:
        """A completion for each, by the policy as it is now; its end is part of it."""
        longest = max(item.length for item in asked)
        ids = torch.zeros(len(asked), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, item in enumerate(asked):
            ids[row, longest - item.length :] = torch.from_numpy(item.ids)
            mask[row, longest - item.length :] = 1
        device, end = next(self.policy.parameters()).device, self.told.end
        with at_rest(self.policy):
            written = generate(
                self.policy,
                ids.to(device),
                mask.to(device),
                max_new_tokens=self.max_new_tokens,
                do_sample=True,
                eos_token_id=end,
            )
        return [up_to_end(row, end) for row in written[:, longest:].cpu().numpy().astype(np.int32)]

    def _rewards(self, asked: Sequence[Asked], answers: Sequence[Ids]) -> Tensor:
        """float32 [rows]; DataError where the reward is no finite number."""
        texts = [self.tokenizer.decode(ids.tolist(), skip_special_tokens=True) for ids in answers]
        rewards = torch.as_tensor(self.reward([item.text for item in asked], texts), dtype=torch.float32)
        if rewards.shape != (len(texts),):
            raise DataError(f"the reward gave the shape {list(rewards.shape)} for {len(texts)} completions")
        for i in (~rewards.isfinite()).nonzero()[:, 0].tolist():
            raise DataError(f"the reward of {texts[i]!r:.80} is {rewards[i]}")
        return rewards

    def loss(self, output: Output, targets: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        assert output.logits is not None
        said = token_log_probs(output.logits, targets["tokens"])
        losses = policy_loss(
            said,
            said.detach(),  # the policy that drew is the one that learns
            targets["reference"],
            targets["advantages"],
            targets["tokens"] != NO_TARGET,
            self.clip,
            self.beta,
        )
        return losses.sum(), len(losses)

    def answers(self, output: Output, batch: TrainingBatch) -> list[Gained]:
        assert output.logits is not None
        said = token_log_probs(output.logits, batch.targets["tokens"])
        distance = kl_estimate(said, batch.targets["reference"]).sum(-1)  # [rows]; 0 where there is no target
        means = (values.view(-1, self.group).mean(-1).tolist() for values in (batch.targets["rewards"], distance))
        return list(zip(*means, strict=True))

    def score(self, predictions: Sequence[Gained], examples: Sequence[Example]) -> dict[str, float]:  # noqa: ARG002
        """The mean reward; kl, the mean KL(pi, pi_ref) of a whole completion, in nats, as estimated of those drawn."""
        count = max(1, len(predictions))
        reward, kl = (sum(values) / count for values in zip(*predictions, strict=True))
        return {"reward": reward, "kl": kl}

    def describe(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("beta", "group", "max_new_tokens", "clip")}
        reward = getattr(self.reward, "name", None) or getattr(self.reward, "__qualname__", type(self.reward).__name__)
        return {
            "task": "grpo",
            "max_length": self.told.max_length,
            "template": self.told.template,
            **own,
            "reward": reward,
        }


def advantages(rewards: Tensor, group: int) -> Tensor:
    """(r - mean) / std within each group: [groups · group] -> [groups · group] (the same, section 4.1.2)."""
    groups = rewards.double().view(-1, group)  # in which the mean of equal rewards is each of them
    centred = groups - groups.mean(-1, keepdim=True)
    return (centred / (groups.std(-1, keepdim=True) + LEAST_SPREAD)).flatten().to(rewards.dtype)


def kl_estimate(said: Tensor, reference: Tensor) -> Tensor:
    """pi_ref/pi - log(pi_ref/pi) - 1, from log p of tokens that pi drew: never below 0, and KL(pi, pi_ref) on average
    (the same, equation 4; Schulman 2020, "Approximating KL Divergence", k3)."""
    difference = reference - said
    return difference.expm1() - difference


def policy_loss(
    said: Tensor, drawn: Tensor, reference: Tensor, advantages: Tensor, here: Tensor, clip: float, beta: float
) -> Tensor:
    """Equation 3 with its sign turned, for each completion: [rows].

    said, drawn, reference   log p of the tokens by the policy, by the policy that drew them, by the reference
                             [rows, length]
    advantages               [rows]
    here                     bool [rows, length], which tokens are a completion's
    """
    ratio = (said - drawn).exp()
    gain = advantages[:, None]  # [rows, 1]
    clipped = torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain)  # [rows, length]
    losses = (beta * kl_estimate(said, reference) - clipped) * here
    return losses.sum(-1) / here.sum(-1).clamp(min=1)


def up_to_end(ids: Ids, end: int) -> Ids:
    """What was written up to the first end token, that one included."""
    ends = np.flatnonzero(ids == end)
    return ids[: ends[0] + 1] if len(ends) else ids
