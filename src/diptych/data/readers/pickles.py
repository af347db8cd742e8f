"""Pickles as NumPy under Python 2 wrote them: plain values and uint8 arrays, and nothing that runs.

A pickle is a program that may call any importable function, so this file runs them with three functions of its own:
the format needs an array's shape, type and bytes, and nothing in NumPy is reached by what a file says.
"""

import io
import pickle

import numpy as np
from numpy.typing import NDArray

from diptych.errors import DataError


def unpickle(content: bytes, name: str) -> object:
    """Run a pickle of plain values and uint8 arrays; an array comes as a `PickledArray`.

    Raises:
        DataError: it asks for any global but the three of the format, or breaks off; names `name` and the byte offset.
    """
    stream = io.BytesIO(content)
    try:
        return _BatchUnpickler(stream).load()
    except Exception as error:  # a damaged pickle may raise anything, as pickle's documentation says
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name!r} is no CIFAR batch: {reason} at byte {stream.tell()}.") from error


class _PickledType:
    """Stands in for `numpy.dtype`; only uint8 is admitted."""

    def __init__(self, code: object) -> None:
        if code != b"u1":
            raise pickle.UnpicklingError(f"array of type {code!r}, wanted b'u1'")

    def __setstate__(self, state: object) -> None:
        """Ignore byte order and alignment, which one byte has not."""


class PickledArray:
    """Stands in for `numpy.ndarray` as its `__reduce__` rebuilds it; `values` is the true array."""

    values: NDArray[np.uint8] = np.empty(0, dtype=np.uint8)

    def __setstate__(self, state: tuple[int, tuple[int, ...], _PickledType, bool, bytes]) -> None:
        _version, shape, element_type, is_fortran, raw = state
        if not isinstance(element_type, _PickledType):
            raise pickle.UnpicklingError(f"array of type {element_type!r}")
        values = np.frombuffer(raw, dtype=np.uint8)
        self.values = values.reshape(shape, order="F" if is_fortran else "C")


class _BatchUnpickler(pickle.Unpickler):
    """Answers the format's three globals with stand-ins of its own, and no other global at all."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, encoding="bytes")
        # Functions of this one unpickler, not the classes: a pickle may set attributes of what it is given.
        self._globals: dict[tuple[str, str], object] = {
            ("numpy.core.multiarray", "_reconstruct"): lambda *_: PickledArray(),
            ("numpy", "ndarray"): None,
            ("numpy", "dtype"): lambda code, *_: _PickledType(code),
        }

    def find_class(self, module_name: str, global_name: str) -> object:
        """Return a stand-in; refuse every global that the format does not need."""
        try:
            return self._globals[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}") from None
