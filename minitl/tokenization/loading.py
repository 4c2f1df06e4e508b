"""From a folder to a `Tokenizer`: pick the files, build the algorithm, put special tokens and template around it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from minitl.checkpoints.hub import resolve
from minitl.checkpoints.weights import read_json
from minitl.errors import TokenizerError
from minitl.tokenization import byte_level_bpe, families, sentencepiece_model, wordpiece
from minitl.tokenization.families import Family
from minitl.tokenization.languages import LANGUAGE, Languages, LanguageSet, suggestion
from minitl.tokenization.numbered import VOCABULARY, NumberedTokenizer, Numbering, number_pieces
from minitl.tokenization.settings import ROLES, Settings, read_settings, reporting
from minitl.tokenization.tokenizer import Tokenizer, findable

SENTENCEPIECE_FILES = {  # and the family that each name stands for where no configuration says otherwise
    "spiece.model": families.T5,
    "sentencepiece.bpe.model": families.XLM_ROBERTA,
    "tokenizer.model": families.LLAMA,
    "spm.model": families.DEBERTA_V2,
}
LOOKED_FOR = (
    "tokenizer.json, vocab.txt, vocab.json with merges.txt, vocab.bpe, " + ", ".join(SENTENCEPIECE_FILES) + ", *.model"
)

Tokens = dict[str, AddedToken]  # role → token


def load_tokenizer(source: str | Path, *, revision: str | None = None) -> Tokenizer:
    """The tokenizer of a checkpoint.

    `source` is a folder in the published layout, or a hub id (at `revision`). Used is the first of: tokenizer.json;
    vocab.txt (WordPiece); vocab.json + merges.txt; GPT-2's vocab.bpe, with or without encoder.json; a SentencePiece
    *.model, for M2M100 with vocab.json. Special tokens, template, languages and limits come from
    tokenizer_config.json, special_tokens_map.json and added_tokens.json, then from the family's defaults
    (`families.FAMILIES`).

    Raises TokenizerError, naming the file, where files are absent, damaged or contradict each other; CheckpointError
    where there is no such checkpoint, InputError for a revision of a folder, as `load_model` does.
    """
    folder = resolve(source, revision=revision)
    settings = read_settings(folder)
    if (folder / "tokenizer.json").is_file():
        return _from_tokenizer_json(folder / "tokenizer.json", settings)
    if (folder / "vocab.txt").is_file():
        return _from_vocab_txt(folder / "vocab.txt", settings)
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return _from_merges(folder / "merges.txt", folder / "vocab.json", settings)
    if (folder / "vocab.bpe").is_file():
        return _from_merges(folder / "vocab.bpe", folder / "encoder.json", settings)
    named = [folder / name for name in SENTENCEPIECE_FILES if (folder / name).is_file()]
    models = named[:1] or sorted(folder.glob("*.model"))
    if len(models) == 1:
        return _from_sentencepiece(models[0], settings)
    raise TokenizerError(f"{folder}: no tokenizer here; looked for {LOOKED_FOR}")


def _from_tokenizer_json(path: Path, settings: Settings) -> Tokenizer:
    """tokenizer.json says everything about the algorithm; the configuration may still change a few of its switches."""
    content = read_json(path, TokenizerError)
    if not isinstance(content.get("model"), dict):
        raise TokenizerError(f"{path}: expected a JSON object with a model")
    with reporting(path):
        backend = Backend.from_file(str(path))
        for token in content.get("added_tokens") or []:
            _check_id(backend, token["content"], token["id"], path)
    padding = backend.padding
    backend.no_padding()  # both are decided at each call
    backend.no_truncation()

    is_wordpiece = content["model"].get("type") == "WordPiece"
    name = settings.tokenizer_class or families.BY_MODEL_TYPE.get(settings.model_type or "", "")
    family = families.FAMILIES.get(name, families.PLAIN)
    if family is families.PLAIN and is_wordpiece:
        family = families.BERT
    _apply_switches(backend, settings)
    tokens = _tokens(backend, family.special_tokens, settings)
    if "pad" not in tokens and padding is not None:
        tokens["pad"] = AddedToken(padding["pad_token"], normalized=False, special=True)
    _mark_special(backend, tokens, settings, path)
    if not family.single and {"add_bos_token", "add_eos_token"} & settings.values.keys():
        # A switch that is absent keeps what the file does.
        bare, around = backend.encode("a", add_special_tokens=False).ids, backend.encode("a").ids
        adds_bos = around[: len(bare)] != bare
        adds_eos = around[len(around) - len(bare) :] != bare
        _set_bos_eos_template(backend, tokens, settings, adds_bos=adds_bos, adds_eos=adds_eos)
    if family.languages is not None:
        codes = [token for token in family.languages(settings).tokens if backend.token_to_id(token) is not None]
        backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in codes])
    return _finish(backend, tokens, settings, family, path)


def _apply_switches(backend: Backend, settings: Settings) -> None:
    """Case, accents, CJK and the prefix space: where tokenizer_config.json names them, it has the last word."""
    switches = {"do_lower_case": "lowercase", "strip_accents": "strip_accents"}
    switches["tokenize_chinese_chars"] = "handle_chinese_chars"
    if isinstance(backend.normalizer, normalizers.BertNormalizer):
        for published, attribute in switches.items():
            if settings.get(published, bool, None) is not None:
                setattr(backend.normalizer, attribute, settings.values[published])
    prefix = settings.get("add_prefix_space", bool, None)
    if isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel) and prefix is not None:
        backend.pre_tokenizer.add_prefix_space = prefix


def _from_vocab_txt(path: Path, settings: Settings) -> Tokenizer:
    family = _family(settings, path, families.BERT)
    unknown = _name("unk", family.special_tokens, settings)
    return _assemble(wordpiece.build(path, settings, unknown), family, family.special_tokens, settings, path)


def _from_merges(path: Path, vocabulary_path: Path, settings: Settings) -> Tokenizer:
    merges = byte_level_bpe.read_merges(path)
    if vocabulary_path.is_file():
        vocabulary = byte_level_bpe.read_vocabulary(vocabulary_path)
    else:
        vocabulary = byte_level_bpe.rebuild_vocabulary(merges, _name("eos", families.GPT2.special_tokens, settings))
    by_vocabulary = families.ROBERTA if "<mask>" in vocabulary else families.GPT2
    family = _family(settings, path, by_vocabulary)
    backend = byte_level_bpe.build(vocabulary, merges, path, settings)
    return _assemble(backend, family, family.special_tokens, settings, path)


def _from_sentencepiece(path: Path, settings: Settings) -> Tokenizer:
    """The pieces in the family's order, its treatment of spaces, and the file's own special pieces."""
    proto = sentencepiece_model.read_model(path)
    by_file = families.M2M100 if (path.parent / VOCABULARY).is_file() else SENTENCEPIECE_FILES.get(path.name)
    family = _family(settings, path, by_file or families.PLAIN)
    spec = proto.trainer_spec
    own = {"unk": (spec.unk_id, spec.unk_piece), "bos": (spec.bos_id, spec.bos_piece)}
    own |= {"eos": (spec.eos_id, spec.eos_piece), "pad": (spec.pad_id, spec.pad_piece)}
    defaults = {role: piece for role, (number, piece) in own.items() if number >= 0} | dict(family.special_tokens)

    names = {role: _name(role, defaults, settings) for role in defaults}
    languages = [] if family.languages is None else family.languages(settings).tokens
    reserved, sentinels = family.layout.reserved(settings, names), _sentinels(family, settings)
    numbering = None
    if family.layout.numbered:
        required = {role: names[role] for role in family.special_tokens}
        pieces, numbering = number_pieces(path, proto, required, languages)
    else:
        pieces = _ordered_pieces(path, proto, family, names, reserved, [*languages, *sentinels])
    marked_unknown = next(piece.piece for piece in proto.pieces if piece.type == sentencepiece_model.UNKNOWN)
    unknown = names["unk"] if "unk" in family.layout.first else marked_unknown

    backend = sentencepiece_model.build(path, proto, pieces, unknown)
    family.layout.spacing(backend, proto, settings)
    marked = sentencepiece_model.marked_tokens(proto)
    marked += [AddedToken(token, normalized=False, special=True) for token in [*reserved, *languages, *sentinels]]
    return _assemble(backend, family, defaults, settings, path, marked, numbering)


def _ordered_pieces(
    path: Path, proto: Any, family: Family, names: Mapping[str, str], reserved: Sequence[str], behind: Sequence[str]
) -> list[tuple[str, float]]:
    """All pieces with their scores, in the order of the family's ids."""
    layout = family.layout
    if layout.replaced > len(proto.pieces):
        raise TokenizerError(f"{path}: {len(proto.pieces)} pieces are fewer than the family's special tokens")
    before = [*(names[role] for role in layout.first), *reserved]
    after = [*behind, *(names[role] for role in layout.last)]
    own = [(piece.piece, piece.score) for piece in proto.pieces[layout.replaced :]]
    return [*((token, 0.0) for token in before), *own, *((token, 0.0) for token in after)]


def _sentinels(family: Family, settings: Settings) -> list[str]:
    """T5's marks of gaps, last one first; `extra_ids` of the configuration changes their number."""
    count = family.layout.sentinels
    numbers = range(settings.count("extra_ids", count) if count else 0)
    return [f"<extra_id_{number}>" for number in reversed(numbers)]


def _family(settings: Settings, path: Path, by_file: Family) -> Family:
    """By tokenizer_class, then config.json's model_type, then the kind of file. Unknown classes are refused:
    their vocabulary may need a numbering or a template that nothing in the folder tells."""
    name = settings.tokenizer_class or families.BY_MODEL_TYPE.get(settings.model_type or "")
    if name is None and settings.model_type is not None and path.suffix == ".model":
        name = f"model_type {settings.model_type!r}"
    if name is None:
        return by_file
    if name not in families.FAMILIES:
        known = ", ".join(sorted(families.FAMILIES))
        raise TokenizerError(f"{path}: cannot be read for {name}; without a tokenizer.json known are {known}")
    family = families.FAMILIES[name]
    return by_file if family is families.PLAIN and path.suffix != ".model" else family


def _assemble(
    backend: Backend,
    family: Family,
    defaults: Mapping[str, str],
    settings: Settings,
    path: Path,
    marked: Sequence[AddedToken] = (),
    numbering: Numbering | None = None,
) -> Tokenizer:
    """Special tokens and template around a bare algorithm; `marked` are the vocabulary's own that stay whole."""
    tokens = _tokens(backend, defaults, settings)
    if "mask" in tokens and family.mask_takes_space:
        tokens["mask"] = AddedToken(tokens["mask"].content, lstrip=True, normalized=False, special=True)
    _mark_special(backend, tokens, settings, path)
    with reporting(path):
        backend.add_tokens([token for token in marked if backend.token_to_id(token.content) is not None])
    if family.single:
        missing = [role for role in ROLES if f"{{{role}}}" in family.single and role not in tokens]
        if missing:
            names = ", ".join(repr(defaults[role]) for role in missing)
            raise TokenizerError(f"{path}: its vocabulary lacks the special tokens {names}")
        if family.languages is None:
            _set_template(backend, family, tokens, settings)
    else:
        _set_bos_eos_template(backend, tokens, settings, adds_bos=family.add_bos, adds_eos=False)
    return _finish(backend, tokens, settings, family, path, numbering)


def _name(role: str, defaults: Mapping[str, str], settings: Settings) -> str:
    return settings.special_tokens[role].content if role in settings.special_tokens else defaults[role]


def _tokens(backend: Backend, defaults: Mapping[str, str], settings: Settings) -> Tokens:
    """Role to token: what the configuration names, else the default where the vocabulary has it."""
    tokens = {
        role: AddedToken(content, normalized=False, special=True)
        for role, content in defaults.items()
        if backend.token_to_id(content) is not None
    }
    return tokens | settings.special_tokens


def _mark_special(backend: Backend, tokens: Tokens, settings: Settings, path: Path) -> None:
    """Let the special tokens be matched whole; those outside the vocabulary get the next ids, by id, then by role."""
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    wanted = [token for _, token in sorted(settings.added.items())]
    wanted += [tokens[role] for role in ROLES if role in tokens]
    by_role = {token.content: token for token in tokens.values()}  # its stripping rules win over those of plain lists
    for token in wanted + settings.extra:
        if token.content not in known:
            known.add(token.content)
            token = findable(by_role.get(token.content, token), backend)
            with reporting(path):
                (backend.add_special_tokens if token.special else backend.add_tokens)([token])


def _check_id(vocabulary: Backend | Tokenizer, content: str, number: int, path: Path) -> None:
    found = vocabulary.token_to_id(content)
    if found != number:
        raise TokenizerError(
            f"{path}: the added token {content!r} is said to have the id {number}, but the vocabulary gives {found}"
        )


def _set_template(backend: Backend, family: Family, tokens: Tokens, settings: Settings) -> None:
    names = {role: token.content for role, token in tokens.items()}
    numbered = {name: backend.token_to_id(name) for name in names.values()}
    template = processors.TemplateProcessing(
        single=[piece.format(**names) for piece in family.single.split()],
        pair=[piece.format(**names) for piece in family.pair.split()],
        special_tokens=list(numbered.items()),
    )
    if family.trim_offsets and settings.get("trim_offsets", bool, True):
        prefix = settings.get("add_prefix_space", bool, False)
        trim = processors.ByteLevel(add_prefix_space=prefix, trim_offsets=True)
        backend.post_processor = processors.Sequence([trim, template])
    else:
        backend.post_processor = template


def _set_bos_eos_template(
    backend: Backend, tokens: Tokens, settings: Settings, *, adds_bos: bool, adds_eos: bool
) -> None:
    """`bos $A eos bos $B eos`, each where its switch is on; the arguments are the switches' defaults."""
    bos, eos = (tokens[role].content if role in tokens else None for role in ("bos", "eos"))
    before = [bos] if bos and settings.get("add_bos_token", bool, adds_bos) else []
    after = [eos] if eos and settings.get("add_eos_token", bool, adds_eos) else []
    backend.post_processor = processors.TemplateProcessing(
        single=[*before, "$A", *after],
        pair=[
            *(f"{piece}:0" for piece in [*before, "$A", *after]),
            *(f"{piece}:1" for piece in [*before, "$B", *after]),
        ],
        special_tokens=[(name, backend.token_to_id(name)) for name in {*before, *after}],
    )


def _finish(
    backend: Backend,
    tokens: Tokens,
    settings: Settings,
    family: Family,
    path: Path,
    numbering: Numbering | None = None,
) -> Tokenizer:
    inputs: list[Any] | None = settings.get("model_input_names", list, None)
    options: dict[str, Any] = {
        "model_max_length": settings.model_max_length,
        "padding_side": settings.side("padding_side", family.padding_side),
        "truncation_side": settings.side("truncation_side"),
        "token_types": family.token_types if inputs is None else "token_type_ids" in inputs,
        "chat_template": settings.values.get("chat_template"),
    }
    names = {role: token.content for role, token in tokens.items()}
    languages = None
    if family.languages is not None:
        languages = _languages(backend, family, family.languages(settings), names, settings, path, numbering)
    if numbering is None:
        tokenizer = Tokenizer(backend, names, languages=languages, **options)
    else:
        tokenizer = NumberedTokenizer(backend, names, languages=languages, numbering=numbering, **options)
    for number, token in settings.added.items():
        _check_id(tokenizer, token.content, number, path)
    return tokenizer


def _languages(
    backend: Backend,
    family: Family,
    published: LanguageSet,
    names: Mapping[str, str],
    settings: Settings,
    path: Path,
    numbering: Numbering | None,
) -> Languages:
    """The languages among the special tokens: the published ones, and those that someone added to them.

    TokenizerError where one that is to be used is not among them.
    """
    ids: dict[str, int] = {}
    tokens: dict[str, str] = {}
    for place, token in sorted(backend.get_added_tokens_decoder().items()):
        found = re.fullmatch(published.spelling, token.content)
        if found and token.special:
            ids[found[1]] = place if numbering is None else numbering.id(place)
            tokens[found[1]] = token.content
    chosen = {name: settings.get(name, str, None) for name in ("src_lang", "tgt_lang")}
    for name, code in chosen.items():
        if code is not None and code not in ids:
            config_path = settings.folder / "tokenizer_config.json"
            raise TokenizerError(f"{config_path}: {name} {code!r} is no language of it; {suggestion(code, list(ids))}")
    source = chosen["src_lang"] or published.source
    if source not in ids:
        raise TokenizerError(f"{path}: its vocabulary lacks the language token {published.token.format(source)!r}")
    switches = {name: settings.values[name] for name in families.LANGUAGE_SWITCHES if name in settings.values}
    legacy = family.legacy if settings.get("legacy_behaviour", bool, False) else None
    single, pair = legacy or (family.single, family.pair)
    return Languages(
        ids,
        tokens,
        single=[piece.format(**names, language=LANGUAGE) for piece in single.split()],
        pair=[piece.format(**names, language=LANGUAGE) for piece in pair.split()],
        source=source,
        target=chosen["tgt_lang"],
        opens=published.opens,
        published_class=next(name for name, one in families.FAMILIES.items() if one is family),
        switches=switches,
    )
