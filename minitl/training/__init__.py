"""How a model learns: one loop, and what is given to it."""

from minitl.training.evaluation import evaluate, predict
from minitl.training.fit import Result, fit
from minitl.training.lines import Lines
from minitl.training.log import History, Listener, Step, Validation
from minitl.training.lora_plus import LoraPlus
from minitl.training.range_test import RangeTest, range_test
from minitl.training.settings import Settings
from minitl.training.state import discard_state
from minitl.training.strategies import FROZEN, FULL, GRADUAL, HEAD_THEN_BODY, NEW_TOKENS, Strategy

__all__ = [
    "FROZEN",
    "FULL",
    "GRADUAL",
    "HEAD_THEN_BODY",
    "NEW_TOKENS",
    "History",
    "Lines",
    "Listener",
    "LoraPlus",
    "RangeTest",
    "Result",
    "Settings",
    "Step",
    "Strategy",
    "Validation",
    "discard_state",
    "evaluate",
    "fit",
    "predict",
    "range_test",
]
