"""From the arrays of a weights file to those of a spec: by name, by structure, or as told; never by a guess."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from diptych.deployment import evidence
from diptych.deployment.evidence import Constraint, Flags
from diptych.deployment.fit import Shapes, check_fit
from diptych.deployment.rows import canonical_rows
from diptych.engines.contract import Arrays, Stored
from diptych.errors import ArtifactError, UsageError
from diptych.spec import ModelSpec
from diptych.spec.typed import did_you_mean

Layers: TypeAlias = dict[str, Arrays]
_SHOWN = 3
# Of PyTorch's norms; a float where somebody has converted all that there was.
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True, eq=False)
class Match:
    """A spec's arrays, found in a file, and how many of its layers were found in which way."""

    arrays: Arrays
    """By canonical name in canonical layout, float32."""
    by_name: int
    by_structure: int
    by_map: int
    casts: tuple[str, ...]
    """A line for each type of number that was not float32: how many arrays, and how many lost digits."""


@dataclass(frozen=True)
class _Names:
    """Layers with arrays: as the file calls them, the same without a prefix that all share, and those of the spec."""

    stored: list[str]
    bare: list[str]
    wanted: list[str]


def match(stored: Stored, spec: ModelSpec, where: str, layer_map: Mapping[str, str] | None = None) -> Match:
    """Find a spec's arrays in a file.

    Args:
        stored: what the file holds.
        spec: the model.
        where: what to call the file in errors.
        layer_map: layers of the file, by name, and the layers of the spec that they are.

    Raises:
        ArtifactError: the file holds another model, or does not tell two of its layers apart; names them.
        UsageError: the map names a layer that there is not, or one that does not fit.
    """
    held, wanted = _held(stored.arrays), _wanted(spec)
    names = _Names(list(held), _bare(list(held), set(wanted)), list(wanted))
    shapes = [{role: array.shape for role, array in layer.items()} for layer in held.values()]
    check_fit(dict(zip(names.bare, shapes, strict=True)), wanted, spec, where)
    possible = np.array([[shape == want for want in wanted.values()] for shape in shapes], bool)
    told = _told(layer_map or {}, names, possible)
    pairs = _pairs(stored, spec, names, possible, told, where)

    layers = [(target, held[names.stored[row]]) for target, row in zip(wanted, pairs.argmax(0), strict=True)]
    arrays = {f"{target}.{role}": layer[role] for target, layer in layers for role in wanted[target]}
    found, casts = _as_float32(canonical_rows(spec, arrays, stored.permutes, where))
    by_name = int((pairs & ~told & evidence.same_names(names.bare, names.wanted)).sum())
    return Match(found, by_name, len(wanted) - by_name - int(told.sum()), int(told.sum()), casts)


def _held(arrays: Arrays) -> Layers:
    layers: Layers = {}
    for path, array in arrays.items():
        name, _, role = path.rpartition(".")
        if role != _COUNTER:
            layers.setdefault(name, {})[role] = array
    return layers


def _wanted(spec: ModelSpec) -> dict[str, Shapes]:
    layers: dict[str, Shapes] = {}
    for array in spec.arrays:
        name, _, role = array.name.rpartition(".")
        layers.setdefault(name, {})[role] = array.shape
    return layers


def _bare(names: list[str], wanted: set[str]) -> list[str]:
    """Names without what wrappers put before each of them, such as `module.`."""
    while set(names) != wanted and all("." in name for name in names) and len({_first(name) for name in names}) == 1:
        names = [name.partition(".")[2] for name in names]
    return names


def _first(name: str) -> str:
    return name.partition(".")[0]


def _told(layer_map: Mapping[str, str], names: _Names, possible: Flags) -> Flags:
    """The pairs that the user named."""
    told = np.zeros_like(possible)
    for source, target in layer_map.items():
        known = names.stored if source in names.stored else names.bare
        for name, options in ((source, known), (target, names.wanted)):
            if name not in options:
                near = did_you_mean(name, options)
                raise UsageError(f"--map {source}={target}: no layer '{name}' has weights{near}.")
        row, column = known.index(source), names.wanted.index(target)
        if not possible[row, column] or told[row].any() or told[:, column].any():
            fault = "their shapes differ" if not possible[row, column] else "one of them is mapped already"
            raise UsageError(f"--map {source}={target}: these cannot be one layer; {fault}.")
        told[row, column] = True
    return told


def _pairs(stored: Stored, spec: ModelSpec, names: _Names, possible: Flags, told: Flags, where: str) -> Flags:
    """Which layer is which."""
    if set(names.bare) == set(names.wanted) and not told.any():
        return np.array([[bare == target for target in names.wanted] for bare in names.bare], bool)
    possible = evidence.bound(possible, told)
    order = next(
        (rules for rules in _orders(stored, spec, names) if evidence.holds(evidence.settled(possible, rules))), []
    )
    possible = evidence.bound(possible, possible & evidence.same_names(names.bare, names.wanted))
    left = evidence.settled(evidence.shortcuts_apart(possible, names.bare, names.wanted), order)
    if not evidence.holds(left):
        raise ArtifactError(
            f"Cannot tell which layer of '{where}' is which: its names say one thing, their order another. "
            f"Settle it with --map LAYER={names.wanted[int(left.any(0).argmin())]} and so on."
        )
    _check_decided(left, names, where)
    return left


def _orders(stored: Stored, spec: ModelSpec, names: _Names) -> Iterator[list[Constraint]]:
    """What is known of the layers' order, best evidence first; what contradicts the shapes is no evidence."""
    above = evidence.upstream({layer.name: layer.inputs for layer in spec.layers}, names.wanted)
    if stored.inputs.keys() >= set(names.stored):
        theirs = evidence.upstream(stored.inputs, names.stored)
        yield [Constraint(theirs, above), Constraint(~theirs, ~above)]
    earlier, counted = evidence.earlier(stored.sequences, names.stored), evidence.counted(names.bare)
    for before in (earlier | counted, earlier, counted):
        # Layers side by side may be defined in either order; only what reads another comes after it.
        yield [Constraint(before, ~above.T)]


def _check_decided(left: Flags, names: _Names, where: str) -> None:
    open_columns = np.flatnonzero(left.sum(0) > 1)
    if not len(open_columns):
        return
    target = names.wanted[open_columns[0]]
    rivals = [names.stored[row] for row in np.flatnonzero(left[:, open_columns[0]])]
    shown = _listed([f"'{name}'" for name in rivals])
    raise ArtifactError(
        f"Cannot tell which layer of '{where}' is '{target}': {shown} fit alike. "
        f"Say which with {' or '.join(f'--map {name}={target}' for name in rivals[:2])}."
    )


def _listed(texts: Sequence[str]) -> str:
    if len(texts) > _SHOWN:
        return f"{', '.join(texts[:_SHOWN])} and {len(texts) - _SHOWN} more"
    return " and ".join(texts)


def _as_float32(arrays: Arrays) -> tuple[Arrays, tuple[str, ...]]:
    found, lost = {}, dict[str, list[bool]]()
    for name, array in arrays.items():
        with np.errstate(over="ignore"):
            found[name] = np.ascontiguousarray(array, np.float32)
        if array.dtype != np.float32:
            same = np.array_equal(found[name].astype(array.dtype), array, equal_nan=True)
            lost.setdefault(array.dtype.name, []).append(not same)
    lines = (f"{kind} → float32: {len(losses)} arrays, {sum(losses)} lost digits" for kind, losses in lost.items())
    return found, tuple(lines)
