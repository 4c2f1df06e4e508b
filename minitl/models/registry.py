"""Which file holds which family. Adding a family is one file and one line here."""

from importlib import import_module

from minitl.errors import ConfigError, InputError
from minitl.models.base import Family

# config.json's model_type -> the module whose FAMILY it is, or MODULE:NAME; imported when first asked for.
MODULES = {
    "bart": "minitl.models.bart",
    "bert": "minitl.models.bert",
    "deberta-v2": "minitl.models.deberta",
    "distilbert": "minitl.models.distilbert",
    "electra": "minitl.models.electra",
    "gpt2": "minitl.models.gpt2",
    "llama": "minitl.models.llama",
    "m2m_100": "minitl.models.m2m100",
    "mbart": "minitl.models.mbart",
    "mistral": "minitl.models.mistral",
    "modernbert": "minitl.models.modernbert",
    "mt5": "minitl.models.t5:MULTILINGUAL",
    "pegasus": "minitl.models.pegasus",
    "roberta": "minitl.models.roberta",
    "t5": "minitl.models.t5",
    "xlm-roberta": "minitl.models.roberta:XLM",
}


# Families of the papers before the transformer, in a layout of this library's own: no hub has their checkpoints.
TAUGHT_HERE = {
    "bilm": "minitl.models.bilm",
    "skip-gram": "minitl.models.skip_gram",
}


def family_names() -> list[str]:
    """All model types, published and taught here."""
    return sorted([*MODULES, *TAUGHT_HERE])


def family_of(model_type: object, where: str = "config.json") -> Family:
    """The family of a config's `model_type`; ConfigError lists the known ones."""
    modules = MODULES | TAUGHT_HERE
    if not isinstance(model_type, str) or model_type not in modules:
        raise ConfigError(f"{where}: unknown model_type {model_type!r}; known: {', '.join(family_names())}")
    module, _, name = modules[model_type].partition(":")
    return getattr(import_module(module), name or "FAMILY")


def task_of(family: Family, architectures: list[str] | None, where: str = "config.json") -> str:
    """The task that config.json's `architectures` names; without that field, the backbone."""
    if not architectures:
        return "backbone"
    for name, task in family.architectures():
        if name == architectures[0]:
            return task
    known = ", ".join(name for name, _ in family.architectures())
    raise ConfigError(f"{where}: unknown architecture {architectures[0]!r} for this model_type; known: {known}")


def check_task(family: Family, task: str) -> None:
    """InputError, listing the tasks, where the family has no such head."""
    if task != "backbone" and task not in family.heads:
        raise InputError(
            f"{family.config.model_type} has no head for the task {task!r}; it has: backbone, {', '.join(family.heads)}"
        )
