"""What a training step of a decoder computes and keeps in memory, counted from its configuration alone.

                 forward            backward, for what was read     backward, for what learns
    x Wᵀ         2 · rows · in · out      the same: dY W                  the same: dYᵀ x

Each product of the forward pass comes back twice: once for the gradient of what it read, where anything below learns,
and once for that of its matrix, where that learns. LoRA spares the last of the three for the base's matrices, so that a
step costs about two thirds of a full one and not a thousandth; what it spares is memory: gradients, masters and moments
of what does not learn.

Products alone are counted, two operations for a multiplication and an addition, as `torch.utils.flop_counter` counts
them, and attention as if every token saw every other. Norms, activations and the optimiser's step are limited by memory
and not by arithmetic. Decoders are meant whose blocks are Llama's (`minitl.models.llama`), under a causal-LM head.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from minitl.adapters import LoraConfig, add_lora, count_parameters
from minitl.adapters.counting import ParameterCount
from minitl.errors import InputError
from minitl.models.llama import LlamaConfig
from minitl.models.loading import new_model
from minitl.models.meta import LeaveEmpty

ATTENTION = ("attention.query", "attention.key", "attention.value", "attention.output")
FEED_FORWARD = ("feed_forward.gate", "feed_forward.up", "feed_forward.down")
QUERY_VALUE = ("attention.query", "attention.value")
ALL_LINEAR = ATTENTION + FEED_FORWARD
HALF, WIDE = 2, 4  # bytes of a bfloat16 and of a float32


@dataclass(frozen=True)
class Learning:
    """What learns: updates of `rank` of each block's linear layers `adapted`, or, with neither, everything."""

    rank: int = 0
    adapted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = [name for name in self.adapted if name not in ALL_LINEAR]
        if unknown:
            raise InputError(f"no linear layer {', '.join(unknown)} in a block; there are {', '.join(ALL_LINEAR)}")
        if self.rank < 0 or (self.rank == 0) != (not self.adapted):
            raise InputError(f"updates have a rank of at least 1 and layers, got {self.rank} and {self.adapted}")

    @property
    def everything(self) -> bool:
        return not self.adapted


FULL = Learning()


@dataclass(frozen=True)
class Precision:
    """Bytes that a parameter which learns takes: itself, its gradient, its float32 master, AdamW's two moments.

    What does not learn takes `weight`.
    """

    name: str
    weight: int
    gradient: int
    master: int
    moments: int


MASTERS = Precision("bfloat16 with float32 masters and moments", HALF, HALF, WIDE, 2 * WIDE)  # Micikevicius et al. 2018
THROUGHOUT = Precision("bfloat16 throughout", HALF, HALF, 0, 2 * HALF)


@dataclass(frozen=True)
class Product:
    """[rows, inner] times [inner, columns], `copies` times over.

    of      "weights", where the right side is a layer's matrix, or "attention", where both were computed
    left, right   whether that side needs a gradient
    again   whether it lies within a block, and so is computed again where activations are
    """

    of: str
    rows: int
    inner: int
    columns: int
    left: bool
    right: bool
    copies: int = 1
    again: bool = True

    @property
    def flops(self) -> int:
        return 2 * self.copies * self.rows * self.inner * self.columns


@dataclass(frozen=True)
class Flops:
    """Of one step: forward, backward for what was read and for what learns, and the blocks' forward once more."""

    forward: int
    for_activations: int
    for_weights: int
    recomputed: int

    @property
    def total(self) -> int:
        return self.forward + self.for_activations + self.for_weights + self.recomputed


@dataclass(frozen=True)
class Memory:
    """Bytes of one step: `optimiser` holds masters and moments."""

    weights: int
    gradients: int
    optimiser: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimiser + self.activations


def linear_sizes(config: LlamaConfig) -> dict[str, tuple[int, int]]:
    """(in, out) of the linear layers of a block."""
    hidden, inner = config.hidden_size, config.intermediate_size
    queries, keys = config.num_attention_heads * config.head_size, config.kv_heads * config.head_size
    return {
        "attention.query": (hidden, queries),
        "attention.key": (hidden, keys),
        "attention.value": (hidden, keys),
        "attention.output": (queries, hidden),
        "feed_forward.gate": (hidden, inner),
        "feed_forward.up": (hidden, inner),
        "feed_forward.down": (inner, hidden),
    }


def step_flops(
    config: LlamaConfig, batch: int, length: int, learning: Learning = FULL, recompute: bool = False
) -> Flops:
    """Of a step over `batch` texts of `length` tokens; `recompute`: gradient checkpointing of every block."""
    forward = for_activations = for_weights = recomputed = 0
    for product in products(config, batch, length, learning):
        forward += product.flops
        for_activations += product.flops * product.left
        if product.of == "weights":
            for_weights += product.flops * product.right
        else:
            for_activations += product.flops * product.right
        recomputed += product.flops * (product.again and recompute)
    return Flops(forward, for_activations, for_weights, recomputed)


def products(config: LlamaConfig, batch: int, length: int, learning: Learning) -> Iterator[Product]:
    """Every product of the forward pass, in its order."""
    everything, needed = learning.everything, learning.everything  # the embeddings learn only where everything does
    for _ in range(config.num_hidden_layers):
        yield from _block(config, batch, length, learning, needed)
        needed = True  # something learns in every block
    yield Product("weights", batch * length, config.hidden_size, config.vocab_size, needed, everything, again=False)


def _block(config: LlamaConfig, batch: int, length: int, learning: Learning, needed: bool) -> Iterator[Product]:
    """Of one block; `needed` is whether what enters it needs a gradient."""
    sizes, everything = linear_sizes(config), learning.everything
    heads, size = config.num_attention_heads, config.head_size

    def linear(name: str, reads: bool) -> Iterator[Product]:
        inner, columns = sizes[name]
        yield Product("weights", batch * length, inner, columns, reads, everything)
        if name in learning.adapted:
            yield Product("weights", batch * length, inner, learning.rank, reads, True)
            yield Product("weights", batch * length, learning.rank, columns, True, True)

    def grows(name: str, reads: bool) -> bool:
        """Whether what the layer gives needs a gradient."""
        return reads or everything or name in learning.adapted

    query, key, value = (grows(name, needed) for name in ATTENTION[:3])
    for name in ATTENTION[:3]:
        yield from linear(name, needed)
    yield Product("attention", length, size, length, query, key, copies=batch * heads)
    yield Product("attention", length, length, size, query or key, value, copies=batch * heads)
    context = query or key or value
    yield from linear("attention.output", context)
    middle = needed or grows("attention.output", context)
    yield from linear("feed_forward.gate", middle)
    yield from linear("feed_forward.up", middle)
    inside = grows("feed_forward.gate", middle) or grows("feed_forward.up", middle)
    yield from linear("feed_forward.down", inside)


def kept_bytes(config: LlamaConfig, batch: int, length: int, learning: Learning = FULL, recompute: bool = False) -> int:
    """Bytes of the activations that a forward pass in bfloat16 keeps for the backward pass, by this library's blocks.

    Attention by a fused kernel, which keeps no scores; no dropout. With `recompute` the input of every block, and all
    of one block, which is there while the backward pass is in it.
    """
    tokens, hidden = batch * length, config.hidden_size
    head = _norm(hidden, learning.everything, reads=learning.everything) + WIDE * config.vocab_size  # log-softmax
    angles = 2 * HALF * length * config.head_size
    blocks = [_block_bytes(config, learning, needed=learning.everything or i > 0) for i in range(2)]
    layers = config.num_hidden_layers
    if recompute:
        return tokens * (layers * HALF * hidden + max(blocks[: min(2, layers)]) + head) + angles
    return tokens * (blocks[0] + (layers - 1) * blocks[1] + head) + angles


def _norm(hidden: int, learns: bool, reads: bool, needed: bool = True) -> int:
    """Bytes a token of an RMSNorm: its input in float32 and the root; the normed, for its own weight; what it gives,
    where a matrix that learns `reads` it."""
    return needed * (WIDE * hidden + WIDE) + learns * HALF * hidden + reads * HALF * hidden


def _block_bytes(config: LlamaConfig, learning: Learning, needed: bool) -> int:
    """Bytes a token of one block."""
    everything, adapted = learning.everything, set(learning.adapted)
    hidden, inner = config.hidden_size, config.intermediate_size
    queries = config.num_attention_heads * config.head_size
    reads_attention = everything or bool(adapted & set(ATTENTION[:3]))
    reads_feed_forward = everything or bool(adapted & set(FEED_FORWARD[:2]))
    attends = needed or reads_attention
    carries = attends or "attention.output" in adapted
    size = _norm(hidden, everything, reads_attention, needed)
    if attends:  # queries; keys and values, copied for each head; context; the logarithm of each head's sum
        size += 4 * HALF * queries + WIDE * config.num_attention_heads
    elif "attention.output" in adapted:
        size += HALF * queries
    size += _norm(hidden, everything, reads_feed_forward, carries)
    if carries or reads_feed_forward:
        size += 3 * HALF * inner  # gate, its activation, up
    if everything or "feed_forward.down" in adapted:
        size += HALF * inner
    return size + HALF * learning.rank * len(adapted)


def count(config: LlamaConfig, learning: Learning = FULL) -> ParameterCount:
    """The parameters of the model with its head, counted on one without memory."""
    model = new_model(config, "causal-lm", device="meta")
    if not learning.everything:
        with LeaveEmpty():
            add_lora(model, LoraConfig(r=learning.rank, target_modules=list(learning.adapted)))
    return count_parameters(model)


def step_memory(counted: ParameterCount, activations: int, precision: Precision) -> Memory:
    """What a training with AdamW holds at the end of a forward pass, when the gradients are also there."""
    return Memory(
        weights=precision.weight * counted.total,
        gradients=precision.gradient * counted.trainable,
        optimiser=(precision.master + precision.moments) * counted.trainable,
        activations=activations,
    )
