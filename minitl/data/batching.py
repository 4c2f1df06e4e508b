"""Batches of similar length, so that little of a batch is padding.

Training batches are shuffled as well: sorted batches alone would show the model all short texts first, in the same
company each epoch. The order depends on (seed, epoch) alone, so that a resumed run sees the batches it would have seen.
"""

import random
from collections.abc import Sequence

from minitl.errors import InputError

BATCHES_PER_POOL = 50  # lengths are compared within a pool: larger pools pad less and mix less


def length_grouped_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Cut the indices 0 … len(lengths) - 1 into shuffled batches of similar length, for one epoch of training.

    Shuffle, cut into pools of 50 batches, sort each pool by length, cut the pools into batches, shuffle the batches.
    The batch with the most padded tokens comes first, so that a lack of memory shows at once. Each index occurs once;
    one batch at most is short. Deterministic in (seed, epoch); global random state is neither read nor changed.

    Raises InputError when batch_size < 1.
    """
    _check_batch_size(batch_size)
    rng = random.Random(f"{seed} {epoch}")
    order = list(range(len(lengths)))
    rng.shuffle(order)
    pool_size = BATCHES_PER_POOL * batch_size
    batches = []
    for start in range(0, len(order), pool_size):
        pool = sorted(order[start : start + pool_size], key=lambda index: lengths[index], reverse=True)
        batches += _cut(pool, batch_size)
    rng.shuffle(batches)
    if batches:
        costliest = max(range(len(batches)), key=lambda at: len(batches[at]) * max(lengths[i] for i in batches[at]))
        batches[0], batches[costliest] = batches[costliest], batches[0]
    return batches


def batches_by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Cut the indices 0 … len(lengths) - 1 into batches by falling length, for evaluation.

    The caller puts its results back in order by these indices. Raises InputError when batch_size < 1.
    """
    _check_batch_size(batch_size)
    return _cut(sorted(range(len(lengths)), key=lambda index: lengths[index], reverse=True), batch_size)


def _cut(indices: list[int], size: int) -> list[list[int]]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, not {batch_size}")
