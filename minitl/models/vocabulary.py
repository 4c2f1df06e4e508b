"""More tokens than a model was trained with: its tokenizer learns them, its tables grow by their rows.

    before     old rows                       spare rows, if any
    after      old rows │ rows of new tokens │ what is left of the spare ones, or nothing

The tables are the token embedding and, where there is a language model's head, its output layer: tied or not, with its
biases. A new row begins as the mean of the old ones (Hewitt 2021, "Initializing New Word Embeddings for Pretrained
Language Models"): a new token's score is then the mean of all scores, and the probabilities of the old tokens change
as little as they can.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from minitl.errors import InputError
from minitl.models.base import Model
from minitl.nn.embeddings import Embedding
from minitl.nn.grown import Grown, GrownEmbedding, GrownOutput
from minitl.tokenization import Tokenizer

EMBEDDING = "embeddings.token"


def add_tokens(model: Model, tokenizer: Tokenizer, tokens: Sequence[str], *, train_all: bool = False) -> int:
    """Teach `tokenizer` new tokens and give `model` rows for them; both in place.

    tokens      matched whole from now on; those that the tokenizer has are left, with the rows they have
    train_all   False: nothing but the new rows learns. Everything else is frozen; `requires_grad_` or a strategy of
                `fit` opens the layers again, and the old rows of the tables stay as they are under any optimiser.
                True: the tables are ordinary ones, and what was trainable is

    Outputs for old tokens stay what they were, bit for bit where the old rows are frozen. Tokens beyond the table that
    the tokenizer was taught before, without the model, get their rows too; a further call adds to the rows that learn.
    `save_model` writes one ordinary table, old rows and new: a model that is loaded again has no frozen rows. An
    adapter that is placed afterwards, `add_lora`, has its own version of rows that learn, and its files hold them;
    those of `train_all` only if the table is among its `modules_to_save`.

    Returns how many tokens were new. InputError: a blank token, a model without a token embedding or with adapters.
    """
    embedding = _embedding(model)
    known = tokenizer.vocab_size
    count = tokenizer.add_tokens(tokens)
    rows, end = embedding.num_embeddings, tokenizer.vocab_size
    first = min(known, rows)  # rows beyond the tokens known are spare: some published tables are padded
    if end <= max(known, rows) and not count:
        return 0
    model.new_tokens += tuple(tokenizer.id_to_token(i) or "" for i in range(first, end))
    if train_all:
        _replace_tables(model, first, end, lambda table, made: _plain(table, first, end, made))
        model.source = None  # no longer what that holds: an adapter's files must not name it as the base
        return count
    start = embedding.first if isinstance(embedding, Grown) else first
    _replace_tables(model, first, end, lambda table, made: _grown(table, start, first, end, made))
    model.requires_grad_(False)
    for rows_that_learn in new_rows(model):
        rows_that_learn.requires_grad_()
    return count


def grow(model: Model, start: int, end: int) -> None:
    """Let learn the rows of the ids from `start` to before `end` by themselves, in place.

    Those that the tables have begin as they are, others as the mean. What is trainable beside them stays so. InputError
    as `add_tokens`.
    """
    fresh = min(end, _embedding(model).num_embeddings)
    _replace_tables(model, fresh, end, lambda table, made: _grown(table, start, fresh, end, made))


def new_rows(model: nn.Module) -> list[nn.Parameter]:
    """What learns in the tables that grew: rows, and biases of them."""
    grown = (module for module in model.modules() if isinstance(module, Grown))
    return [p for module in grown for name, p in module.named_parameters(recurse=False) if name.startswith("new")]


def _replace_tables(
    model: Model, first: int, end: int, remake: Callable[[nn.Module, dict[int, nn.Parameter]], nn.Module]
) -> None:
    """Put `remake` of each table of tokens in its place; rows from `first` to `end` are new there."""
    rows = _embedding(model).num_embeddings
    made: dict[int, nn.Parameter] = {}  # by the identity of the old weight: what is tied stays tied
    for path in (EMBEDDING, *output_layers(model)):
        parent, _, name = path.rpartition(".")
        old = model.get_submodule(path)
        setattr(model.get_submodule(parent), name, remake(old, made).train(old.training))
    _extend_buffers(model.head, rows, first, end)
    model.config = replace(model.config, vocab_size=max(rows, end))  # type: ignore[call-arg]  # of every family
    model.has_unsaved_rows = True


def _embedding(model: Model) -> Embedding:
    if any(".adapters." in name for name, _ in model.named_parameters()):
        raise InputError("this model carries adapters, whose files could not hold new rows: merge or remove them first")
    embedding = dict(model.named_modules()).get(EMBEDDING)
    if not isinstance(embedding, Embedding):
        raise InputError(f"{type(model).__name__} has no table of tokens that could grow")
    return embedding


def output_layers(model: Model) -> list[str]:
    """The paths of the output layers, which have a row for each token: those that may be tied to the embedding."""
    named = {name.rpartition(".")[0] for group in model.key_map.ties for name in group}
    return [path for path, _ in model.named_modules() if path in named and path != EMBEDDING]


def _grown(module: nn.Module, start: int, first: int, end: int, made: dict[int, nn.Parameter]) -> nn.Module:
    """`module` with rows that learn for the ids from `start` to `end`; those from `first` on are new."""
    assert isinstance(module, (Embedding, nn.Linear, GrownOutput))
    weight = module.weight
    if id(weight) not in made:
        made[id(weight)] = nn.Parameter(_extended(_whole(module, "weight"), first, end)[start:end].clone())
    if isinstance(module, Embedding):
        return GrownEmbedding(module, start, made[id(weight)])
    bias = None
    if module.bias is not None:
        bias = nn.Parameter(_extended(_whole(module, "bias"), first, end)[start:end].clone())
    return GrownOutput(module, start, made[id(weight)], bias)


def _plain(module: nn.Module, first: int, end: int, made: dict[int, nn.Parameter]) -> nn.Module:
    """An ordinary table of all rows."""
    assert isinstance(module, (Embedding, nn.Linear, GrownOutput))
    learns = isinstance(module, Grown) or module.weight.requires_grad
    if id(module.weight) not in made:
        made[id(module.weight)] = nn.Parameter(_extended(_whole(module, "weight"), first, end), learns)
    weight = made[id(module.weight)]
    plain: nn.Module
    with torch.device("meta"):
        if isinstance(module, Embedding):
            plain = Embedding(len(weight), weight.shape[1], module.what, module.padding_idx)
        else:
            plain = nn.Linear(weight.shape[1], len(weight), module.bias is not None)
    plain.weight = weight
    if isinstance(plain, nn.Linear) and plain.bias is not None:
        plain.bias = nn.Parameter(_extended(_whole(module, "bias"), first, end), learns)
    return plain


def _extend_buffers(head: nn.Module, rows: int, first: int, end: int) -> None:
    """What a head adds to the scores, [..., tokens], without training it."""
    for module in head.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.shape[-1:] == (rows,):
                setattr(module, name, _extended(buffer.movedim(-1, 0), first, end).movedim(0, -1).contiguous())


def _whole(module: nn.Module, name: str) -> Tensor:
    """All rows of a table that may have grown before."""
    whole = module.stored(name) if isinstance(module, Grown) else getattr(module, name).detach()
    assert whole is not None  # it is for the new rows alone, which have names of their own
    return whole


def _extended(table: Tensor, first: int, end: int) -> Tensor:
    """`table` [rows, …] with the mean of the rows before `first` in the rows from `first` to `end`."""
    mean = table[:first].float().mean(0).to(table.dtype)  # summed in float32: thousands of rows
    return torch.cat((table[:first], mean.expand(end - first, *table.shape[1:]), table[end:]))
