"""Translate between this library's parameter names and the published ones, in both directions.

A family declares its map as a list of pairs of module paths:

    KeyMap(
        ("layers.{i}.attention.query", "encoder.layer.{i}.attention.self.query"),
        ("layers.{i}.feed_forward.up", "h.{i}.mlp.c_fc", Transposed),
        prefix="bert.",
    )

A pair carries everything below it: weight, bias, lora_A, lora_B. Where several published names lead to one of ours, the
first is written and all are read.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace


class Transposed:
    """Marks a pair whose weight is stored [in, out] in the file, where nn.Linear has [out, in] (GPT-2's Conv1D)."""


Pair = tuple[str, str] | tuple[str, str, type[Transposed]]


@dataclass(frozen=True)
class _Rule:
    ours: str
    published: str
    transposed: bool
    has_prefix: bool

    @staticmethod
    def translate(name: str, source: str, target: str) -> str | None:
        """`name` with the module path `source` replaced by `target`, or None where `source` is not its beginning."""
        pattern = re.escape(source).replace(r"\{i\}", r"(\d+)")
        found = re.match(rf"{pattern}(?=\.|$)", name)
        if found is None:
            return None
        if found.groups():
            target = target.replace("{i}", found.group(1))
        return target + name[found.end() :]


@dataclass(frozen=True)
class KeyMap:
    """The names of one family (or of one head: see `extended`).

    prefix     what stands before the backbone's names in files that also hold a head, e.g. "bert."; both forms are read
    renames    (pattern, replacement) applied to published names first: legacy spellings, anchored regular expressions
    drops      anchored regular expressions, without prefix, of tensors that files are known to carry and nobody needs
    optional   our module paths that a file may lack; they are then left out of the model, never filled at random
    implied    our tensor names that a file may lack: what they hold is known without it, and `initialize` fills them in
    ties       groups of our parameter names that are one tensor where the config ties word embeddings
    called     {our module path: published path} where files hold a tensor under another module's name than that of the
               module which the published forward calls: adapters sit on the latter
    """

    pairs: Sequence[Pair]
    prefix: str = ""
    renames: Sequence[tuple[str, str]] = ()
    drops: Sequence[str] = ()
    optional: Sequence[str] = ()
    implied: Sequence[str] = ()
    ties: Sequence[tuple[str, ...]] = ()
    called: Mapping[str, str] = field(default_factory=dict)
    _head_pairs: Sequence[Pair] = field(default=(), repr=False)

    def extended(
        self, pairs: Sequence[Pair], ties: Sequence[tuple[str, ...]] = (), prefix: str | None = None
    ) -> "KeyMap":
        """This map with a head's pairs and ties; the head's published names take no prefix."""
        return replace(
            self,
            prefix=self.prefix if prefix is None else prefix,
            ties=(*self.ties, *ties),
            _head_pairs=(*self._head_pairs, *pairs),
        )

    def _rules(self) -> Iterable[_Rule]:
        for pairs, has_prefix in ((self._head_pairs, False), (self.pairs, True)):
            for ours, published, *mark in pairs:
                yield _Rule(ours, published, bool(mark), has_prefix)

    def to_published(self, name: str, with_prefix: bool | None = None) -> str | None:
        """Our name -> the published one, or None. Where the map has a head the prefix is written, unless said."""
        if with_prefix is None:
            with_prefix = bool(self._head_pairs)
        for rule in self._rules():
            published = rule.translate(name, rule.ours, rule.published)
            if published is not None:
                return self.prefix + published if rule.has_prefix and with_prefix else published
        return None

    def to_layer(self, path: str, with_prefix: bool | None = None) -> str | None:
        """Our module path -> that of the published module which is called in its place; else as `to_published`."""
        if path not in self.called:
            return self.to_published(path, with_prefix)
        with_prefix = bool(self._head_pairs) if with_prefix is None else with_prefix
        return self.prefix + self.called[path] if with_prefix else self.called[path]

    def to_ours(self, name: str) -> str | None:
        """The published name, with or without prefix, legacy or not -> ours, or None where the map does not know it."""
        name, bare = self._modern(name), self.bare(name)
        for rule in self._rules():
            ours = rule.translate(bare if rule.has_prefix else name, rule.published, rule.ours)
            if ours is not None:
                return ours
        return None

    def is_transposed(self, ours: str) -> bool:
        """Whether the tensor `ours` lies transposed in files: only a marked pair's weight does, never its adapter."""
        module, _, kind = ours.rpartition(".")
        for rule in self._rules():
            if rule.translate(ours, rule.ours, rule.published) is not None:
                return rule.transposed and kind == "weight" and rule.translate(module, rule.ours, "") == ""
        return False

    def is_dropped(self, name: str) -> bool:
        """Whether the published `name` is on the list of known, unneeded tensors."""
        return any(re.match(pattern, self.bare(name)) for pattern in self.drops)

    def is_optional(self, ours: str) -> bool:
        """Whether our parameter `ours` belongs to a part that a file may lack."""
        return any(ours.startswith(part + ".") for part in self.optional)

    def bare(self, name: str) -> str:
        """The published `name` in its present spelling and without prefix."""
        return self._modern(name).removeprefix(self.prefix)

    def _modern(self, name: str) -> str:
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name
