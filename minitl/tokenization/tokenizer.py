"""The tokenizer that the rest of the library calls, whichever algorithm and files are behind it."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Encoding, pre_tokenizers
from tokenizers import Tokenizer as Backend
from torch import Tensor

from minitl.checkpoints.atomic import write_json, write_text
from minitl.errors import InputError
from minitl.tokenization.batch import Batch, Row, Window, padded
from minitl.tokenization.inputs import check_strings, check_words, parts, without_surrogates
from minitl.tokenization.languages import Languages
from minitl.tokenization.settings import ROLES

Padding = bool | Literal["max_length"]


class Tokenizer:
    """Texts to `Batch`es and ids to text.

    A lone surrogate, which no UTF-8 text can hold, is read as U+FFFD: one character for one, so offsets stay valid.
    `padding_side` and `truncation_side` ("right" or "left") may be set, and of a multilingual translator's tokenizer
    `source_language` and `target_language`. Safe to call from several threads.
    """

    def __init__(
        self,
        backend: Backend,
        special_tokens: dict[str, str],
        *,
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
        token_types: bool = False,
        chat_template: Any = None,
        languages: Languages | None = None,
    ) -> None:
        """`special_tokens` maps roles (bos, eos, unk, sep, pad, cls, mask) to tokens; made by `load_tokenizer`."""
        self._backend = backend
        self._special_tokens = special_tokens
        self._languages = languages
        self._language: str | None = None  # whose template the backend has
        self._lock = threading.Lock()  # a call's truncation and language are state of the shared backend
        self.model_max_length = model_max_length
        self.padding_side = padding_side
        self.truncation_side = truncation_side
        self.token_types = token_types
        self.chat_template = chat_template

    # Encoding

    def __call__(
        self,
        texts: str | Sequence[str],
        pairs: str | Sequence[str] | None = None,
        max_length: int | None = None,
        padding: Padding = True,
        truncation: bool = True,
        as_target: bool = False,
    ) -> Batch:
        """Encode texts, or texts with their second texts `pairs`, as tensors [batch, length].

        `max_length` counts special tokens; None means `model_max_length`, or no limit where that is unset.
        `padding`: True to the longest row, "max_length" to that length, False not at all (rows must then be equally
        long). Truncation takes tokens from the longer of two texts first. `as_target`: these are what a translator is
        to write, in `target_language`; where there are no languages, targets are encoded like all texts. Raises
        InputError on contradictory input.
        """
        length = self._padded_length(max_length, padding)
        limit = self._limit(max_length, pairs is not None, truncation)
        encodings = self._encode(texts, pairs, limit, offsets=True, language=self._spoken(as_target))
        return self._collate(encodings, length, padding)

    def encode_words(
        self,
        words: Sequence[Sequence[str]],
        max_length: int | None = None,
        padding: Padding = True,
        truncation: bool = True,
    ) -> Batch:
        """Encode texts given as lists of words; `word_ids` of the result index each list, offsets each word.

        Every word is read as following a space, as in running text. Arguments as in `__call__`.
        """
        length = self._padded_length(max_length, padding)
        encodings = self._encode_words(words, self._limit(max_length, False, truncation))
        return self._collate(encodings, length, padding)

    def _encode_words(self, words: Sequence[Sequence[str]], limit: int | None) -> list[Encoding]:
        check_words(words)
        inputs = [list(text) for text in words]
        return self._run(inputs, limit, offsets=True, language=self._spoken(False), words=True)

    def encode(
        self,
        texts: str | Sequence[str],
        pairs: str | Sequence[str] | None = None,
        max_length: int | None = None,
        as_target: bool = False,
    ) -> list[list[int]]:
        """The ids of each text, special tokens included, truncated as in `__call__` and not padded."""
        limit = self._limit(max_length, pairs is not None, truncation=True)
        encodings = self._encode(texts, pairs, limit, offsets=False, language=self._spoken(as_target))
        return [self._ids(encoding) for encoding in encodings]

    def rows(
        self,
        texts: str | Sequence[str],
        pairs: str | Sequence[str] | None = None,
        max_length: int | None = None,
        as_target: bool = False,
    ) -> list[Row]:
        """What `__call__` puts in each row, not padded and in little memory: for many texts ahead of a training."""
        limit = self._limit(max_length, pairs is not None, truncation=True)
        if isinstance(texts, str):
            texts, pairs = [texts], [pairs] if isinstance(pairs, str) else pairs
        check_strings("texts", texts)
        if pairs is not None and len(texts) != len(pairs):
            raise InputError(f"{len(texts)} texts and {len(pairs)} pairs: expected as many of each")
        rows: list[Row] = []
        for part in parts(texts):
            some = None if pairs is None else pairs[part]
            encodings = self._encode(texts[part], some, limit, offsets=False, language=self._spoken(as_target))
            rows += map(self._row, encodings)
        return rows

    def word_rows(
        self, words: Sequence[Sequence[str]], max_length: int | None = None, truncation: bool = True
    ) -> list[tuple[Row, list[int | None]]]:
        """What `encode_words` puts in each row, as `rows` gives it, and for each token the index of its word."""
        encodings = self._encode_words(words, self._limit(max_length, False, truncation))
        return [(self._row(encoding), encoding.word_ids) for encoding in encodings]

    def bare_rows(self, texts: Sequence[str]) -> list[tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]]:
        """The ids of whole texts without special tokens, and which of them begin a word as the tokenizer cuts words."""
        check_strings("texts", texts)
        rows = []
        for part in parts(texts):
            for encoding in self._bare(texts[part]):
                words = np.array([-1 if word is None else word for word in encoding.word_ids], dtype=np.int64)
                begins = np.ones(len(words), dtype=bool)
                begins[1:] = words[1:] != words[:-1]
                rows.append((np.array(self._ids(encoding), dtype=np.int32), begins))
        return rows

    def _bare(self, texts: Sequence[str]) -> list[Encoding]:
        with self._lock:
            self._set_truncation(None)
            return self._backend.encode_batch(without_surrogates(list(texts)), add_special_tokens=False)

    def windows(
        self, questions: Sequence[str], texts: Sequence[str], max_length: int, overlap: int
    ) -> list[list[Window]]:
        """Each question before each part of its text: windows of `max_length` tokens, special ones included, of which
        neighbours share `overlap`. A question that takes more than half of a window is cut.

        InputError where `overlap` leaves no room to go on.
        """
        check_strings("questions", questions)
        check_strings("texts", texts)
        if len(questions) != len(texts):
            raise InputError(f"{len(questions)} questions and {len(texts)} texts: expected as many of each")
        specials = self._backend.num_special_tokens_to_add(True)
        most = max_length // 2 - specials
        if most < 1 or not 0 <= overlap < max_length - specials - most:
            raise InputError(f"windows of {max_length} tokens that share {overlap} have no room for question and text")
        short = self._cut_short(questions, most)
        with self._lock:
            self._set_language(self.source_language)
            self._backend.enable_truncation(max_length, stride=overlap, strategy="only_second")
            try:
                encodings = self._backend.encode_batch(without_surrogates(list(zip(short, texts, strict=True))))
            finally:
                self._backend.no_truncation()
        return [[self._window(part) for part in (encoding, *encoding.overflowing)] for encoding in encodings]

    def _cut_short(self, texts: Sequence[str], most: int) -> list[str]:
        """The texts, none longer than `most` tokens."""
        return [
            text if len(encoding) <= most else text[: encoding.offsets[most - 1][1]]
            for text, encoding in zip(texts, self._bare(texts), strict=True)
        ]

    def _window(self, encoding: Encoding) -> Window:
        places = [place for place, sequence in enumerate(encoding.sequence_ids) if sequence == 1]
        offsets = [encoding.offsets[place] for place in places]
        first = places[0] if places else 0
        return Window(self._row(encoding), first, np.array(offsets, dtype=np.int32).reshape(-1, 2))

    def pad(self, rows: Sequence[Row], length: int | None = None) -> dict[str, Tensor]:
        """Rows as the tensors that a model reads, padded to the longest or to `length`."""
        ids = [row.ids for row in rows]
        type_ids = [row.type_ids for row in rows if row.type_ids is not None] if self.token_types else None
        return padded(ids, type_ids, length, self.pad_token_id, self.padding_side)

    def _row(self, encoding: Encoding) -> Row:
        type_ids = np.array(encoding.type_ids, dtype=np.uint8) if self.token_types else None
        return Row(np.array(self._ids(encoding), dtype=np.int32), type_ids)

    def _limit(self, max_length: int | None, paired: bool, truncation: bool) -> int | None:
        """The length to truncate to, or None."""
        limit = max_length if max_length is not None else self.model_max_length
        if limit is None or not truncation:
            return None
        specials = self._backend.num_special_tokens_to_add(paired)
        if limit <= specials:
            raise InputError(f"max_length={limit} leaves no room beside the {specials} special tokens")
        return limit

    def _encode(
        self,
        texts: str | Sequence[str],
        pairs: str | Sequence[str] | None,
        limit: int | None,
        *,
        offsets: bool,
        language: str | None,
    ) -> list[Encoding]:
        if isinstance(texts, str):
            texts = [texts]
            pairs = [pairs] if isinstance(pairs, str) else pairs
        check_strings("texts", texts)
        if pairs is None:
            return self._run(texts, limit, offsets=offsets, language=language)
        check_strings("pairs", pairs)
        if len(texts) != len(pairs):
            raise InputError(f"{len(texts)} texts and {len(pairs)} pairs: expected as many of each")
        return self._run(list(zip(texts, pairs, strict=True)), limit, offsets=offsets, language=language)

    def _run(
        self, inputs: Sequence[Any], limit: int | None, *, offsets: bool, language: str | None, words: bool = False
    ) -> list[Encoding]:
        with self._lock:
            self._set_truncation(limit)
            self._set_language(language)
            encode = self._backend.encode_batch if offsets else self._backend.encode_batch_fast
            original = self._backend.pre_tokenizer
            if words and isinstance(original, pre_tokenizers.ByteLevel):  # else "a", "b" would be read as "ab"
                self._backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
            try:
                return encode(inputs, is_pretokenized=words)
            except TypeError:  # checked to be strings: what is left is a lone surrogate
                return encode(without_surrogates(inputs), is_pretokenized=words)
            finally:
                if words:
                    self._backend.pre_tokenizer = original

    def _set_truncation(self, limit: int | None) -> None:
        current = self._backend.truncation
        if limit is None:
            if current is not None:
                self._backend.no_truncation()
        elif current is None or (current["max_length"], current["direction"]) != (limit, self.truncation_side):
            self._backend.enable_truncation(limit, strategy="longest_first", direction=self.truncation_side)

    def _set_language(self, code: str | None) -> None:
        if self._languages is not None and code is not None and code != self._language:
            self._backend.post_processor = self._languages.template(self._backend, code)
            self._language = code

    def _spoken(self, as_target: bool) -> str | None:
        """The language of a call's texts."""
        if as_target and self._languages is not None and self._languages.target is None:
            raise InputError("as_target needs a language: set tokenizer.target_language to one of tokenizer.languages")
        return self.target_language if as_target else self.source_language

    def _ids(self, encoding: Encoding) -> list[int]:
        return encoding.ids

    def _collate(self, encodings: list[Encoding], length: int | None, padding: Padding) -> Batch:
        if padding is False and len({len(encoding) for encoding in encodings}) > 1:
            raise InputError("rows of different lengths make no tensor: use padding=True, or one text at a time")
        ids = [self._ids(encoding) for encoding in encodings]
        type_ids = [encoding.type_ids for encoding in encodings] if self.token_types else None
        tensors = padded(ids, type_ids, length, self.pad_token_id, self.padding_side)
        return Batch(tensors, encodings, self.padding_side)

    def _padded_length(self, max_length: int | None, padding: Padding) -> int | None:
        """The length that `padding` asks for, or None where the longest row decides; checks the sides on the way."""
        for name in ("padding_side", "truncation_side"):
            if getattr(self, name) not in ("left", "right"):
                raise InputError(f"{name} must be 'left' or 'right', found {getattr(self, name)!r}")
        if padding in (True, False):
            return None
        if padding != "max_length":
            raise InputError(f'padding must be True, False or "max_length", found {padding!r}')
        length = max_length if max_length is not None else self.model_max_length
        if length is None:
            raise InputError('padding="max_length" needs max_length: this tokenizer has no model_max_length')
        return length

    # Vocabulary

    @property
    def vocab_size(self) -> int:
        """The number of tokens, added ones included: the rows that an embedding needs."""
        return self._backend.get_vocab_size(with_added_tokens=True)

    def token_to_id(self, token: str) -> int | None:
        """The id of a token as the vocabulary spells it ("##ing", "Ġthe", "▁the"), or None."""
        return self._backend.token_to_id(without_surrogates(token))

    def id_to_token(self, number: int) -> str | None:
        """The vocabulary's spelling of an id, or None."""
        return self._backend.id_to_token(number) if number >= 0 else None

    def is_part_of(self, other: "Tokenizer") -> bool:
        """Whether each of its tokens has the same number in the other, which may have more."""
        return all(self.id_to_token(number) == other.id_to_token(number) for number in range(self.vocab_size))

    def add_tokens(self, tokens: Sequence[str]) -> int:
        """Append tokens to the vocabulary, matched whole from now on; those it has are left. How many were new.

        The embedding does not grow with it: `minitl.add_tokens` adds to both.
        """
        check_strings("tokens", tokens)
        if not all(token.strip() for token in tokens):
            raise InputError("a token to add must not be empty or blank")
        new = [without_surrogates(token) for token in dict.fromkeys(tokens) if self.token_to_id(token) is None]
        with self._lock:
            taken = self.id_to_token(self.vocab_size)
            if new and taken is not None:
                raise InputError(f"the ids have gaps: a new token would get the id {self.vocab_size} of {taken!r}")
            return self._backend.add_tokens([findable(AddedToken(token), self._backend) for token in new])

    def _role_id(self, role: str) -> int | None:
        return self.token_to_id(self._special_tokens[role]) if role in self._special_tokens else None

    @property
    def pad_token_id(self) -> int | None:
        """The id that fills short rows, always masked: the pad token, or the end token where there is none."""
        own = self._role_id("pad")
        return own if own is not None else self.eos_token_id

    @property
    def bos_token_id(self) -> int | None:
        return self._role_id("bos")

    @property
    def eos_token_id(self) -> int | None:
        return self._role_id("eos")

    @property
    def unk_token_id(self) -> int | None:
        return self._role_id("unk")

    @property
    def sep_token_id(self) -> int | None:
        return self._role_id("sep")

    @property
    def cls_token_id(self) -> int | None:
        return self._role_id("cls")

    @property
    def mask_token_id(self) -> int | None:
        return self._role_id("mask")

    # Languages

    @property
    def languages(self) -> dict[str, int]:
        """The ids of the languages by their codes, e.g. {"ar_AR": 250001, …}; empty where there are none."""
        return {} if self._languages is None else dict(self._languages.ids)

    def language_id(self, code: str) -> int:
        """The id of a language, e.g. for `generate(…, forced_bos_token_id=…)`.

        InputError lists near codes where there is no such language.
        """
        spoken = self._spoken_languages()
        return spoken.ids[spoken.known(code)]

    def target_options(self, code: str) -> dict[str, int]:
        """How `generate` is told which language to write: `generate(model, …, **tokenizer.target_options("fr_XX"))`.

        In mBART-25 the decoder begins with it, in all others it is the first token that is written. InputError as in
        `language_id`.
        """
        name = "decoder_start_token_id" if self._spoken_languages().opens else "forced_bos_token_id"
        return {name: self.language_id(code)}

    @property
    def source_language(self) -> str | None:
        """The code of the language that texts are in; None where there are no languages."""
        return None if self._languages is None else self._languages.source

    @source_language.setter
    def source_language(self, code: str) -> None:
        spoken = self._spoken_languages()
        spoken.source = spoken.known(code)

    @property
    def target_language(self) -> str | None:
        """The code of the language that targets are in; None until it is set."""
        return None if self._languages is None else self._languages.target

    @target_language.setter
    def target_language(self, code: str | None) -> None:
        spoken = self._spoken_languages()
        spoken.target = None if code is None else spoken.known(code)

    def _spoken_languages(self) -> Languages:
        if self._languages is None:
            raise InputError("this tokenizer has no languages: mBART's, M2M100's and NLLB's have")
        return self._languages

    # Back to text, and to disk

    def decode(self, ids: Sequence[int] | Tensor, skip_special_tokens: bool = False) -> str:
        """The text of one row of ids; ids beyond the vocabulary yield nothing. Raises InputError on negative ids."""
        numbers = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        if any(not isinstance(number, int) or number < 0 for number in numbers):
            shape = f"; got {list(ids.shape)}: decode each row" if isinstance(ids, Tensor) and ids.dim() != 1 else ""
            raise InputError(f"decode takes one row of token ids, none of them negative{shape}")
        return self._decode(numbers, skip_special_tokens)

    def _decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        return self._backend.decode(ids, skip_special_tokens=skip_special_tokens)

    def save(self, folder: str | Path) -> None:
        """Write tokenizer.json and tokenizer_config.json into `folder`, as other libraries read them.

        tokenizer.json holds algorithm, special tokens and template, so the configuration names the class that takes
        it as it is, and repeats none of the switches that made it. Where there are languages, it names their family's
        class, which knows how to change them.
        """
        with self._lock:
            self._set_truncation(None)
            self._set_language(self.source_language)
            content = self._backend.to_str(pretty=True)
        write_text(Path(folder) / "tokenizer.json", content)
        write_json(Path(folder) / "tokenizer_config.json", self._configuration())

    def _configuration(self) -> dict[str, Any]:
        """The content of tokenizer_config.json."""
        inputs = ["input_ids", *(["token_type_ids"] if self.token_types else []), "attention_mask"]
        config: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_input_names": inputs,
            "model_max_length": self.model_max_length if self.model_max_length is not None else int(1e30),
            "padding_side": self.padding_side,
            "truncation_side": self.truncation_side,
            "clean_up_tokenization_spaces": False,
        }
        config |= {f"{role}_token": self._special_tokens[role] for role in ROLES if role in self._special_tokens}
        if self.chat_template is not None:
            config["chat_template"] = self.chat_template
        if self._languages is not None:
            config |= {"tokenizer_class": self._languages.published_class, **self._languages.switches}
            config |= {"src_lang": self._languages.source, "tgt_lang": self._languages.target}
        return config

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


def findable(token: AddedToken, backend: Backend) -> AddedToken:
    """The token, to be found by `backend` in any place of a text.

    Where normalising puts a "▁" before every text, it does so before an added token too, which would then be found at
    the beginning of a word alone: such a backend has to look for it in the text as it is.
    """
    if not token.normalized or backend.normalizer is None or backend.normalizer.normalize_str("a") == "a":
        return token
    flags = {flag: getattr(token, flag) for flag in ("lstrip", "rstrip", "single_word", "special")}
    return AddedToken(token.content, normalized=False, **flags)
