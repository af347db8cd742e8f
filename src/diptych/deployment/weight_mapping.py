"""Map the layers of a weights file to those of a spec: by name, else by order and shape, else as the user says.

A pair is accepted only if nothing else fits. Anything ambiguous is reported, never guessed: the order in which a
PyTorch module defines its layers need not be the order in which it uses them.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import translate
from typing import TypeAlias

import numpy as np

from diptych.engines.contract import Arrays, Stored
from diptych.errors import ArtifactError, UsageError, first_of
from diptych.spec import ModelSpec
from diptych.spec import layers as L
from diptych.vocabulary import did_you_mean

Shapes: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]
"""Role and shape of each array of a layer, sorted by role."""
Layers: TypeAlias = Mapping[str, Shapes]
_SHORTCUT = re.compile(r"shortcut|downsample|skip|projection|proj")
# PyTorch's norms count batches; the counter is a float where a script has converted everything.
_COUNTER = "num_batches_tracked"
_WRAPPERS = re.compile(r"^((module|_orig_mod|model|net)\.)+")


@dataclass(frozen=True, eq=False)
class MappedWeights:
    """A spec's arrays from a file, canonical, float32; how layers were mapped; a line for each other type."""

    arrays: Arrays
    by_name: int
    by_structure: int
    by_map: int
    casts: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    """What is only likely, or no number."""


def map_weights(
    stored: Stored, spec: ModelSpec, where: str, layer_map: Mapping[str, str] | None = None
) -> MappedWeights:
    """Map the arrays in a file to those of a spec.

    Args:
        stored: The content of the file.
        spec: The model.
        where: The file's name in messages.
        layer_map: Layers of the file, by name, and their layers in the spec.

    Raises:
        ArtifactError: The file contains a different model, or one of its layers fits several layers of the spec.
        UsageError: The map has an unknown layer, or a pair of different shapes.
    """
    arrays = {path: array for path, array in stored.arrays.items() if path.rpartition(".")[2] != _COUNTER}
    model = _layers({array.name: array.shape for array in spec.arrays})
    layers = _layers({path: array.shape for path, array in arrays.items()})
    bare = _without_prefix(list(layers), set(model))
    held = {bare[name]: shapes for name, shapes in layers.items()}
    _check_fit(held, model, spec, where)
    given = {bare.get(name, name): target for name, target in (layer_map or {}).items()}
    _check_map(given, held, model)
    sequences = [[bare[name] for name in sequence if name in bare] for sequence in stored.sequences]
    pairs = _pairs(held, spec, model, given, sequences, where)

    by_name = sum(name not in given and _words(name) == _words(target) for name, target in pairs.items())
    parts = ((path.rpartition("."), array) for path, array in arrays.items())
    renamed = {f"{pairs[bare[name]]}.{role}": array for (name, _, role), array in parts}
    mapped = {array.name: renamed[array.name] for array in spec.arrays}
    mapped, casts = _as_float32(_canonical_order(spec, mapped, stored.permutes, where))
    counts, known = Counter(held.values()), {*given, *(name for sequence in sequences for name in sequence)}
    numbered = [name for name in pairs if counts[held[name]] > 1 and name not in known]
    numbered = [name for name in numbered if _words(name) != _words(pairs[name])]
    odd = [name for name, array in mapped.items() if not np.isfinite(array).all()]
    unsure = f"not checked: that layers are used in the order of their numbers: {first_of(numbered, 6)}"
    remarks = [unsure] if numbered else []
    remarks += [f"warning: arrays contain NaN or infinity: {first_of(odd, 6)}"] * bool(odd)
    return MappedWeights(mapped, by_name, len(pairs) - by_name - len(given), len(given), casts, tuple(remarks))


def without(stored: Stored, patterns: Sequence[str], where: str) -> Stored:
    """Leave out the arrays and layers whose names match a pattern such as `criterion.*`, and say how many.

    Raises UsageError if a pattern matches nothing.
    """
    arrays, remarks = dict(stored.arrays), list(stored.remarks)
    for pattern in patterns:
        matches = re.compile(f"{translate(pattern)}|{translate(pattern + '.*')}").match
        out = [path for path in arrays if matches(path) or matches(_WRAPPERS.sub("", path))]
        if not out:
            raise UsageError(f"--ignore '{pattern}' matches no array of '{where}'{did_you_mean(pattern, arrays)}.")
        remarks.append(f"left out by --ignore '{pattern}': {len(out)} arrays ({first_of(out, 3)})")
        arrays = {path: array for path, array in arrays.items() if path not in out}
    return replace(stored, arrays=arrays, remarks=tuple(remarks))


def _layers(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Shapes]:
    """Group the shapes of arrays by layer."""
    layers: defaultdict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for path, shape in shapes.items():
        name, _, role = path.rpartition(".")
        layers[name][role] = shape
    return {name: tuple(sorted(roles.items())) for name, roles in layers.items()}


def _without_prefix(names: list[str], model: set[str]) -> dict[str, str]:
    """Each name without the prefixes that all names share, such as `module.`."""
    bare = names
    while set(bare) != model and all("." in name for name in bare) and len({name.split(".")[0] for name in bare}) == 1:
        bare = [name.partition(".")[2] for name in bare]
    return dict(zip(names, bare, strict=True))


def _check_map(given: Mapping[str, str], held: Layers, model: Layers) -> None:
    for name, target in given.items():
        for layer, known in ((name, held), (target, model)):
            if layer not in known:
                raise UsageError(f"--map {name}={target}: no layer '{layer}' has weights{did_you_mean(layer, known)}.")
        if held[name] != model[target]:
            raise UsageError(f"--map {name}={target}: their shapes differ.")
        if list(given.values()).count(target) > 1:
            raise UsageError(f"--map {name}={target}: '{target}' is mapped more than once.")


def _pairs(
    held: Layers,
    spec: ModelSpec,
    model: Layers,
    given: Mapping[str, str],
    sequences: Sequence[Sequence[str]],
    where: str,
) -> dict[str, str]:
    """Return the layer of the model for each layer of the file."""
    if not given and held == model:
        return {name: name for name in held}
    ancestors = _ancestors(spec, model)
    by_name = _by_name(held, model, given)
    pairs = {**given, **by_name}
    orders: list[list[str]] = []
    for choice in (sequences, _numbered(held)):
        outside = [{held[name] for name in held.keys() - set(sequence)} for sequence in choice]
        closed = [[one for one in names if held[one] not in out] for names, out in zip(choice, outside, strict=True)]
        # An order that contradicts the shapes is none.
        orders = orders or [order for order in closed if _in_order(order, held, model, ancestors, given)]
    for order in orders:
        placed = _in_order(order, held, model, ancestors, pairs)
        if placed is None:
            raise ArtifactError(
                f"Cannot map the layers of '{where}': their names contradict their order. "
                "Map each of them with --map SRCLAYER=DSTLAYER."
            )
        pairs |= placed
    for name in dict.fromkeys([*(name for order in orders for name in order), *held]):
        if name not in pairs:
            options = [target for target in model if model[target] == held[name] and target not in pairs.values()]
            is_partly_named = any(held[other] == held[name] for other in by_name)
            if len(options) > 1 or is_partly_named:
                alike = [other for other in held if held[other] == held[name] and other not in {*pairs, name}]
                choices = " or ".join(f"--map {name}={target}" for target in options)
                rest = f", and likewise for {', '.join(alike)} in the order of use" if alike else ""
                raise ArtifactError(f"Layer '{name}' of '{where}' is ambiguous: choose with {choices}{rest}.")
            pairs[name] = options[0]
    return pairs


def _by_name(held: Layers, model: Layers, given: Mapping[str, str]) -> dict[str, str]:
    """Pairs of the same name, apart from separators and the word for a shortcut."""
    counts = Counter(map(_words, held))
    targets = {_words(target): target for target in model if target not in given.values()}
    return {
        name: target
        for name in held
        if name not in given and counts[_words(name)] == 1 and (target := targets.get(_words(name)))
        if held[name] == model[target]
    }


def _words(name: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z]+|\d+", _SHORTCUT.sub("shortcut", name.lower())))


def _numbered(held: Layers) -> list[list[str]]:
    """Names that differ only in their numbers, in ascending order."""
    groups = defaultdict(list)
    for name in held:
        groups[re.sub(r"\d+", "#", name).removesuffix("_#")].append(name)  # Keras's dense and dense_1
    return [sorted(names, key=lambda name: list(map(int, re.findall(r"\d+", name)))) for names in groups.values()]


def _in_order(
    order: Sequence[str], held: Layers, model: Layers, ancestors: Mapping[str, set[str]], known: Mapping[str, str]
) -> dict[str, str] | None:
    """Pair layers in an order in which each follows its inputs, up to the first ambiguous one; None if impossible."""
    shapes, taken = {held[name] for name in order}, set(known.values())
    left = {target: None for target in model if model[target] in shapes}
    pairs: dict[str, str] = {}
    for name in order:
        options = [known[name]] if name in known else [target for target in left if target not in taken]
        ready = [target for target in options if model[target] == held[name] and ancestors[target].isdisjoint(left)]
        if len(ready) > 1:
            break
        if not ready:
            return None
        pairs[name] = ready[0]
        left.pop(ready[0], None)
    return pairs


def _ancestors(spec: ModelSpec, model: Layers) -> dict[str, set[str]]:
    """For each layer, the layers with weights upstream of it."""
    ancestors: dict[str, set[str]] = {"input": set()}
    for layer in spec.layers:
        ancestors[layer.name] = set(layer.inputs).intersection(model).union(*map(ancestors.__getitem__, layer.inputs))
    return ancestors


def _check_fit(held: Layers, model: Layers, spec: ModelSpec, where: str) -> None:
    """Raise if the file's layers cannot be the model's in any order; name the first that does not fit."""
    missing, extra = _first_unpaired(model, held), _first_unpaired(held, model)
    fault = f"unexpected layer '{extra}' ({_text(held[extra])})." if extra is not None else ""
    paths = (_WRAPPERS.sub("", f"{name}.{shapes[0][0]}".lstrip(".")) for name, shapes in held.items())
    tops = dict.fromkeys(path.partition(".")[0] for path in paths)
    unknown = [f"--ignore '{top}'" for top in tops if not any(name.startswith(top) for name in model)]
    if extra is not None and unknown and not missing:
        fault += f" If the model does without it: {first_of(unknown, 6)}."
    if missing:
        near = held.get(missing) or held.get(extra or "", ())
        fault = f"layer '{missing}' must have {_text(model[missing])}; the file has {_text(near) or 'no layer left'}."
        rows, expected = dict(near).get("weight", ()), dict(model[missing]).get("weight", ())
        if missing == spec.layers[-1].name and rows[:1] != expected[:1] and rows[1:] == expected[1:] != ():
            fault += f" Was it trained for {rows[0]} classes?"
    if fault:
        raise ArtifactError(f"Cannot load '{where}' into {spec.name}: {fault}")


def _first_unpaired(layers: Layers, others: Layers) -> str | None:
    """Return the first layer without a partner of the same shapes; those of the same name are paired first."""
    surplus = Counter(layers.values()) - Counter(others.values())
    return next((name for name, shapes in layers.items() if surplus[shapes] and others.get(name) != shapes), None)


def _text(shapes: Shapes) -> str:
    weight_first = sorted(shapes, key=lambda entry: entry[0] != "weight")
    return ", ".join(f"{role} ({', '.join(map(str, shape))})" for role, shape in weight_first)


def _canonical_order(spec: ModelSpec, arrays: Arrays, permutes: Sequence[str] | None, where: str) -> Arrays:
    """Reorder weights after a Flatten to channel, height, width order; `permutes` is None if they are in it."""
    # differs: flatten-order
    if permutes is None:
        return arrays
    reordered = dict(arrays)
    flattened: dict[str, L.Flatten] = {}  # by layer, the Flatten whose elements it outputs
    is_known = set(permutes) <= {f"{layer.name}.permute" for layer in spec.layers}
    for layer in spec.layers:
        flatten = next((flattened[name] for name in layer.inputs if name in flattened), None)
        if flatten and isinstance(layer, L.Dense | L.BatchNorm):
            height, width, channels = spec.input_shapes(flatten)[0]
            order = np.arange(height * width * channels).reshape(height, width, channels).transpose(2, 0, 1).ravel()
            for array in spec.arrays:
                if spec.owner(array) is layer and (array.role == "kernel" or isinstance(layer, L.BatchNorm)):
                    reordered[array.name] = reordered[array.name][..., order]
        *size, channels = spec.input_shapes(layer)[0]
        has_order = len(size) == 2 and size != [1, 1] and channels > 1
        if isinstance(layer, L.Flatten) and f"{layer.name}.permute" not in permutes and has_order:
            flattened[layer.name] = layer
        elif flatten and isinstance(layer, L.Activation | L.Dropout | L.BatchNorm | L.Flatten):
            flattened[layer.name] = flatten
        elif flatten and not (is_known and isinstance(layer, L.Dense)):
            raise ArtifactError(
                f"Cannot load '{where}': the order of the elements of '{flatten.name}' is unknown at '{layer.name}', "
                "because other layers reorder or mix them. Transfer a file that diptych or PyTorch wrote."
            )
    return reordered


def _as_float32(arrays: Arrays) -> tuple[Arrays, tuple[str, ...]]:
    converted, lost = {}, defaultdict[str, list[bool]](list)
    for name, array in arrays.items():
        with np.errstate(over="ignore"):
            converted[name] = np.ascontiguousarray(array, np.float32)
        is_equal = np.array_equal(converted[name].astype(array.dtype), array, equal_nan=True)
        lost[array.dtype.name].append(not is_equal)
    return converted, tuple(
        f"{dtype} → float32: {len(losses)} arrays, {sum(losses)} lost digits"
        for dtype, losses in lost.items()
        if dtype != "float32"
    )
