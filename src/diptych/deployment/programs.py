"""ONNX programs, looked over before a runtime sees them: all in one file, and no loop that might never end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diptych.engines.contract import CARD
from diptych.errors import ArtifactError


def read_card(path: Path) -> str | None:
    """The card in an ONNX file; None where it carries none.

    Raises:
        ArtifactError: it refers to other files, or holds programs inside the program.
    """
    import onnx

    program = onnx.load(path, load_external_data=False)
    for message in _messages(program):
        _check(message, path)
    cards = [entry.value for entry in program.metadata_props if entry.key == CARD]
    if len(cards) > 1:
        raise ArtifactError(f"'{path}' carries {len(cards)} cards; one is wanted.")
    return cards[0] if cards else None


def _check(message: Any, path: Path) -> None:
    """Refuse a part of a program that would read other files, or run others inside (If, Loop, functions)."""
    match message.DESCRIPTOR.name:
        case "TensorProto" if message.external_data or message.data_location:
            raise ArtifactError(
                f"'{path}' keeps {message.name!r:.60} in another file; one file with all in it is wanted."
            )
        case "AttributeProto" if message.HasField("g") or message.graphs:
            raise ArtifactError(f"'{path}' has a program inside its program ({message.name!r:.60}), such as a loop.")
        case "FunctionProto":
            raise ArtifactError(f"'{path}' defines a function ({message.name!r:.60}), which diptych does not write.")


def _messages(message: Any) -> Iterator[Any]:
    """A protobuf message and every one inside it, however deep, but for those inside tensors."""
    yield message
    if message.DESCRIPTOR.name == "TensorProto":
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "DESCRIPTOR") else value:
                yield from _messages(part)
