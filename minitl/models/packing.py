"""Weights in the order in which a CPU's matrix kernels read them, for reading much with a model that stays as it is."""

from minitl_kernels import PackedLinears

from minitl.models.base import Model


def packed_weights(model: Model, rows: int = 1024) -> PackedLinears:
    """A context in which the linear layers of `model` run faster on a CPU: benchmarks/encoders.py measures how much.

        with minitl.packed_weights(model), torch.inference_mode():
            for batch in batches:
                model(**batch)

    rows   tokens of a usual batch, for which the copies are laid out; other numbers work too

    It takes effect in inference mode, in float32 and bfloat16, without autocast, up to 2 GiB of weights, which are then
    in memory twice; elsewhere everything is as without it. Results agree to rounding. Packing reads and writes every
    weight once, so it pays for many batches, not for one short text.
    """
    return PackedLinears(model.modules(), rows)
