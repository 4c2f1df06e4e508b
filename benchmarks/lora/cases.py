"""The layers that are measured. Not every combination: each list varies what its name says, the rest stands still."""

from dataclasses import dataclass, replace
from typing import Literal

HOT, EAGER, COMPILED, MAX_AUTOTUNE = "hot", "eager", "compiled", "max-autotune"
Layout = Literal["2-D", "3-D", "sliced"]


@dataclass(frozen=True)
class Case:
    """One layer and one input; `extras` are the measurements and arms beyond the least."""

    tokens: int
    inn: int
    out: int
    r: int = 16
    p: float = 0.1
    dtype: str = "bfloat16"
    bias: bool = False
    layout: Layout = "2-D"
    main: bool = False  # one of the rows of the table and the plot
    extras: frozenset[str] = frozenset()

    @property
    def title(self) -> str:
        """What the case is, in a line; what is as usual goes unsaid."""
        parts = [f"{self.inn}→{self.out}", f"{self.tokens:,} tokens", f"r {self.r}"]
        parts.append(f"dropout {self.p}" if self.p else "no dropout")
        parts.append(self.dtype)
        if self.bias:
            parts.append("bias")
        if self.layout != "2-D":
            parts.append(f"{self.layout} x")
        return ", ".join(parts)


SMALL = Case(16384, 768, 768)  # the hidden size of BERT and GPT-2
LARGE = Case(8192, 4096, 4096)  # that of Llama and Mistral
SHAPES = [
    SMALL,
    LARGE,
    replace(SMALL, out=2304),
    replace(SMALL, out=3072),
    replace(SMALL, inn=3072),
    replace(LARGE, out=14336),
    replace(LARGE, inn=14336),
]
STEP_TOKENS = 32 * 64  # of the training step that the processor's target is about


def gpu_cases() -> list[Case]:
    """For a GPU, the most important first: what no time is left for is left out."""
    dropout = [replace(shape, main=True, extras=_extras(shape)) for shape in SHAPES]
    dropout[:2] = [replace(case, extras=case.extras | {MAX_AUTOTUNE}) for case in dropout[:2]]
    without = [replace(shape, p=0.0, main=True, extras=_extras(shape)) for shape in SHAPES]
    without[2:] = [replace(case, extras=case.extras - {COMPILED}) for case in without[2:]]
    few_tokens = [
        replace(shape, tokens=tokens, extras=frozenset({EAGER, HOT}))
        for shape in (SMALL, LARGE)
        for tokens in (1, 64, 512)
    ]
    ranks = [replace(shape, r=r) for r in (1, 4, 8, 24, 64) for shape in (SMALL, LARGE)]
    first = [*dropout[:2], *without[:2]]
    return [*first, *dropout[2:], *few_tokens, *without[2:], *ranks, *_odd(SMALL), *_odd(LARGE)]


def core_cases() -> list[Case]:
    """What the GPU's targets are about and no more, for a first look: nothing in it takes long to compile."""
    return [replace(case, extras=case.extras - {COMPILED, MAX_AUTOTUNE}) for case in gpu_cases()[:4]]


def _extras(shape: Case) -> frozenset[str]:
    """Large layers are not timed where it can make no difference: they hide their launches, and no cache holds them."""
    return frozenset(
        {COMPILED, *({EAGER} if shape.out < 14336 > shape.inn else ()), *({HOT} if shape.inn < 1024 else ())}
    )


def _odd(shape: Case) -> list[Case]:
    """What is not as usual, one thing at a time."""
    return [
        replace(shape, dtype="float16"),
        replace(shape, bias=True),
        replace(shape, layout="3-D"),
        replace(shape, layout="sliced"),
        replace(shape, inn=1000),
        replace(shape, inn=3424),
        replace(shape, r=64, p=0.0),
    ]


def cpu_cases() -> list[Case]:
    """For a processor: MiniLM's three layers and BERT's square one, with biases as both have."""
    shapes = [(384, 384), (384, 1536), (1536, 384), (768, 768)]
    return [
        Case(STEP_TOKENS, inn, out, p=p, dtype=dtype, bias=True, main=True, extras=frozenset({COMPILED} if p else ()))
        for inn, out in shapes
        for dtype in ("float32", "bfloat16")
        for p in (0.1, 0.0)
    ]


def quick_cases() -> list[Case]:
    """Layers so small that a run of them shows that everything runs, and nothing else."""
    tiny = Case(64, 32, 48, r=4, main=True)
    return [
        replace(tiny, dtype="float32", bias=True),
        replace(tiny, dtype="float32", p=0.0, layout="3-D"),
        replace(tiny, layout="sliced", main=False),
    ]
