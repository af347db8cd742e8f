"""Whether the layers of a file can be those of a spec at all, and which one is the first that cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from diptych.errors import ArtifactError
from diptych.spec import ModelSpec

Shapes: TypeAlias = dict[str, tuple[int, ...]]
"""Of a layer's arrays, by role."""


def check_fit(held: Mapping[str, Shapes], wanted: Mapping[str, Shapes], spec: ModelSpec, where: str) -> None:
    """Refuse a file whose layers are not the spec's, whatever their order.

    Args:
        held: the file's layers.
        wanted: the spec's layers.
        spec: the model.
        where: what to call the file.

    Raises:
        ArtifactError: names the first layer that does not fit.
    """
    fault = next(_faults(held, wanted), None)
    if fault:
        hint = _hint(held, wanted, spec.layers[-1].name)
        raise ArtifactError(f"Cannot load '{where}' into {spec.name}: {fault}{hint}")


def _faults(held: Mapping[str, Shapes], wanted: Mapping[str, Shapes]) -> Iterator[str]:
    """What is wrong: first what the spec misses, in its order, then what the file has too much."""
    if wanted.keys() <= held.keys():
        surplus = {name: shapes for name, shapes in held.items() if wanted.get(name) != shapes}
        lacking = {name: shapes for name, shapes in wanted.items() if held[name] != shapes}
    else:
        surplus, lacking = _unpaired(held, wanted), _unpaired(wanted, held)
    for name, shapes in lacking.items():
        near = _nearest(name, shapes, surplus)
        has = f"'{near}' has {_told(surplus[near])}" if near else "the file holds no other layer like it"
        yield f"layer '{name}' wants {_told(shapes)}; {has}."
    for name, shapes in surplus.items():
        yield f"'{name}', with {_told(shapes)}, is a layer too many."


def _unpaired(layers: Mapping[str, Shapes], others: Mapping[str, Shapes]) -> dict[str, Shapes]:
    """Layers for which the others have no partner of the same shapes; those of the same name are paired first."""
    partners = Counter(map(_key, others.values()))
    found = {}
    for name in sorted(layers, key=lambda name: layers[name] != others.get(name)):
        partners[_key(layers[name])] -= 1
        if partners[_key(layers[name])] < 0:
            found[name] = layers[name]
    return {name: shapes for name, shapes in layers.items() if name in found}


def _key(shapes: Shapes) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple(sorted(shapes.items()))


def _nearest(name: str, shapes: Shapes, surplus: Mapping[str, Shapes]) -> str | None:
    """The layer of the same name, or the first that has arrays of as many axes."""
    if name in surplus:
        return name
    return next((other for other, found in surplus.items() if _axes(found) == _axes(shapes)), None)


def _axes(shapes: Shapes) -> dict[str, int]:
    return {role: len(shape) for role, shape in shapes.items()}


def _hint(held: Mapping[str, Shapes], wanted: Mapping[str, Shapes], last: str) -> str:
    surplus, lacking = _unpaired(held, wanted), _unpaired(wanted, held)
    near = _nearest(last, wanted[last], surplus) if list(lacking) == [last] else None
    if near and surplus[near]["weight"][1:] == wanted[last]["weight"][1:]:
        return f" Was it trained for {surplus[near]['weight'][0]} classes?"
    return ""


def _told(shapes: Shapes) -> str:
    roles = sorted(shapes, key=lambda role: (role != "weight", role))
    return ", ".join(f"{role} ({', '.join(map(str, shapes[role]))})" for role in roles)
