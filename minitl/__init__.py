"""minitl: transfer learning in NLP from first principles, in pure PyTorch.

The public names are imported when first used, so that `import minitl` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "load_model": "minitl.models.loading",
    "new_model": "minitl.models.loading",
    "save_model": "minitl.models.loading",
    "add_tokens": "minitl.models.vocabulary",
    "forward_unpadded": "minitl.models.unpadding",
    "packed_weights": "minitl.models.packing",
    "generate": "minitl.generation",
    "stream": "minitl.generation",
    "stream_text": "minitl.generation",
    "generation_options": "minitl.generation",
    "load_sentence_encoder": "minitl.models.sentence",
    "load_word_vectors": "minitl.models.word_vectors",
    "load_elmo": "minitl.models.elmo",
    "ScalarMix": "minitl.nn.scalar_mix",
    "load_tokenizer": "minitl.tokenization",
    "load_dataset": "minitl.data",
    "LoraConfig": "minitl.adapters",
    "add_lora": "minitl.adapters",
    "save_adapter": "minitl.adapters",
    "load_adapter": "minitl.adapters",
    "use_adapter": "minitl.adapters",
    "merge_lora": "minitl.adapters",
    "unmerge_lora": "minitl.adapters",
    "remove_lora": "minitl.adapters",
    "count_parameters": "minitl.adapters",
    "fit": "minitl.training",
    "probe": "minitl.probing.probe",
    "trace": "minitl.inspect",
    "PromptClassifier": "minitl.prompting",
    "MinitlError": "minitl.errors",
}

if TYPE_CHECKING:
    from minitl.adapters import (
        LoraConfig as LoraConfig,
    )
    from minitl.adapters import (
        add_lora as add_lora,
    )
    from minitl.adapters import (
        count_parameters as count_parameters,
    )
    from minitl.adapters import (
        load_adapter as load_adapter,
    )
    from minitl.adapters import (
        merge_lora as merge_lora,
    )
    from minitl.adapters import (
        remove_lora as remove_lora,
    )
    from minitl.adapters import (
        save_adapter as save_adapter,
    )
    from minitl.adapters import (
        unmerge_lora as unmerge_lora,
    )
    from minitl.adapters import (
        use_adapter as use_adapter,
    )
    from minitl.data import load_dataset as load_dataset
    from minitl.errors import MinitlError as MinitlError
    from minitl.generation import generate as generate
    from minitl.generation import generation_options as generation_options
    from minitl.generation import stream as stream
    from minitl.generation import stream_text as stream_text
    from minitl.inspect import trace as trace
    from minitl.models.elmo import load_elmo as load_elmo
    from minitl.models.loading import load_model as load_model
    from minitl.models.loading import new_model as new_model
    from minitl.models.loading import save_model as save_model
    from minitl.models.packing import packed_weights as packed_weights
    from minitl.models.sentence import load_sentence_encoder as load_sentence_encoder
    from minitl.models.unpadding import forward_unpadded as forward_unpadded
    from minitl.models.vocabulary import add_tokens as add_tokens
    from minitl.models.word_vectors import load_word_vectors as load_word_vectors
    from minitl.nn.scalar_mix import ScalarMix as ScalarMix
    from minitl.probing.probe import probe as probe
    from minitl.prompting import PromptClassifier as PromptClassifier
    from minitl.tokenization import load_tokenizer as load_tokenizer
    from minitl.training import fit as fit

__version__ = "0.1.0"
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'minitl' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
