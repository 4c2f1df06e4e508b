"""What is added to a model: LoRA, its placement, and its files.

config       LoraConfig: what one adapter is made of
layer        LoraLinear: the equation
embedding    the same for a table that is looked up
dora         with a magnitude beside the direction
kinds        which layer takes which update
targets      names to layers
held         what a model remembers of its adapters
placement    add_lora, use_adapter, remove_lora
mixed        several adapters in one batch
merging      merge_lora, unmerge_lora
peft_config  the fields of adapter_config.json
files        save_adapter, load_adapter: PEFT's format
counting     count_parameters
"""

from minitl.adapters.config import LoraConfig
from minitl.adapters.counting import ParameterCount, count_parameters
from minitl.adapters.files import load_adapter, save_adapter
from minitl.adapters.layer import LoraLinear
from minitl.adapters.merging import merge_lora, unmerge_lora
from minitl.adapters.placement import add_lora, remove_lora, use_adapter

__all__ = [
    "LoraConfig",
    "LoraLinear",
    "ParameterCount",
    "add_lora",
    "count_parameters",
    "load_adapter",
    "merge_lora",
    "remove_lora",
    "save_adapter",
    "unmerge_lora",
    "use_adapter",
]
