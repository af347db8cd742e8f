"""What tells which stored layer is which layer of a spec: matrices of what is possible, [stored layer, spec layer].

Evidence only ever strikes possibilities out. A pair is a match when nothing else is left, so what is not decided
stays open, and nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Flags: TypeAlias = NDArray[np.bool_]
Token: TypeAlias = str | int
_SHORTCUT = "shortcut"
_SHORTCUTS = {_SHORTCUT, "downsample", "skip", "proj", "projection"}


@dataclass(frozen=True, eq=False)
class Constraint:
    """Where `related[a, b]` holds for two stored layers, `allowed[x, y]` must hold for the spec layers they are."""

    related: Flags
    allowed: Flags


def upstream(inputs: Mapping[str, Iterable[str]], names: Sequence[str]) -> Flags:
    """[i, j]: whether what layer i gives reaches layer j, in a graph that says what each layer reads."""
    reached = []
    for name in names:
        seen: set[str] = set()
        todo = list(inputs.get(name, ()))
        while todo:
            before = todo.pop()
            if before not in seen:
                seen.add(before)
                todo += inputs.get(before, ())
        reached.append([other in seen for other in names])
    return np.array(reached, bool).T


def earlier(sequences: Iterable[Sequence[str]], names: Sequence[str]) -> Flags:
    """[i, j]: whether layer i comes before layer j in one of the sequences."""
    places = {name: (run, place) for run, sequence in enumerate(sequences) for place, name in enumerate(sequence)}
    runs, ranks = np.array([places.get(name, (-1 - i, 0)) for i, name in enumerate(names)]).T
    return np.asarray((runs[:, None] == runs) & (ranks[:, None] < ranks))


def counted(names: Sequence[str]) -> Flags:
    """[i, j]: whether the first thing that two names differ in is a number, and the smaller one is layer i's."""
    split = [tokens(name) for name in names]
    return np.array([[_counts_up(one, other) for other in split] for one in split], bool)


def _counts_up(one: Sequence[Token], other: Sequence[Token]) -> bool:
    first, second = next((pair for pair in zip_longest(one, other) if pair[0] != pair[1]), (None, None))
    return isinstance(first, int) and isinstance(second, int) and first < second


def tokens(name: str) -> tuple[Token, ...]:
    """A name's words and numbers; every word for a shortcut is the same one."""
    words = re.findall(r"[a-z]+|\d+", name.lower())
    return tuple(int(word) if word.isdigit() else _SHORTCUT if word in _SHORTCUTS else word for word in words)


def same_names(stored: Sequence[str], wanted: Sequence[str]) -> Flags:
    """[i, j]: whether two names are one, but for separators and the word for a shortcut."""
    ours, theirs = [tokens(name) for name in stored], [tokens(name) for name in wanted]
    alike = [[one == other and ours.count(one) == theirs.count(one) == 1 for other in theirs] for one in ours]
    return np.array(alike, bool)


def bound(possible: Flags, pairs: Flags) -> Flags:
    """What is left once `pairs` are settled."""
    taken = pairs.any(1, keepdims=True) | pairs.any(0)
    return (possible & ~taken) | pairs


def shortcuts_apart(possible: Flags, stored: Sequence[str], wanted: Sequence[str]) -> Flags:
    """What is left once shortcuts go with shortcuts, among layers alike that have as many on either side."""
    ours, theirs = (np.array([_SHORTCUT in tokens(name) for name in names]) for names in (stored, wanted))
    num_ours = (possible.T.astype(int) @ ours)[None, :]
    num_theirs = (possible.astype(int) @ theirs)[:, None]
    informative = (num_ours == num_theirs) & (num_ours > 0)
    return np.asarray(possible & (~informative | (ours[:, None] == theirs)))


def settled(possible: Flags, constraints: Iterable[Constraint]) -> Flags:
    """What is left when every possibility must agree with some possibility of every other layer, pair by pair."""
    others = ~np.eye(len(possible), dtype=bool)
    rules = [(rule.related & others, rule.allowed & others) for rule in constraints]
    while True:
        left = possible
        for related, allowed in rules:
            left = left & ~_meet(related.T, ~_meet(left, allowed))
            left = left & ~_meet(related, ~_meet(left, allowed.T))
        for _ in range(2):  # a layer with one possibility takes it from all others; then the same seen from the spec
            single = np.asarray(left.sum(1) == 1)
            left = np.where(single[:, None], left, left & ~left[single].any(0)).T
        if np.array_equal(left, possible):
            return left
        possible = left


def holds(possible: Flags) -> bool:
    """Whether every layer on either side still has a possibility."""
    return bool(possible.any(0).all() and possible.any(1).all())


def _meet(first: Flags, second: Flags) -> Flags:
    """[i, k]: whether some j is in both: a product of matrices of flags."""
    return np.asarray(first.astype(np.float32) @ second.astype(np.float32) > 0)
