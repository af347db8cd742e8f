"""What two processes say to each other over pipes: a JSON header and named arrays, never a pickle.

A frame is the lengths of its two parts (uint32 and uint64, little-endian), the header as UTF-8 JSON, and the
arrays as a safetensors file.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import safetensors.numpy

from diptych.engines.contract import Arrays

_LENGTHS = struct.Struct("<IQ")


def write_frame(stream: BinaryIO, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
    """Send a header and arrays; floats in the header arrive to the last bit."""
    text = json.dumps(header).encode()
    # `asarray`, because safetensors saves the memory of a transposed array as it lies.
    body = safetensors.numpy.save({name: np.asarray(array, order="C") for name, array in (arrays or {}).items()})
    stream.write(_LENGTHS.pack(len(text), len(body)))
    stream.write(text)
    stream.write(body)
    stream.flush()


def read_frame(stream: BinaryIO) -> tuple[dict[str, Any], Arrays]:
    """Receive what `write_frame` sent.

    Raises:
        EOFError: the stream ends before the frame does.
    """
    text_length, body_length = _LENGTHS.unpack(_read_exactly(stream, _LENGTHS.size))
    header = json.loads(_read_exactly(stream, text_length))
    return header, safetensors.numpy.load(_read_exactly(stream, body_length))


def _read_exactly(stream: BinaryIO, length: int) -> bytes:
    content = stream.read(length)
    if len(content) < length:
        raise EOFError(f"The stream ended after {len(content)} of {length} bytes.")
    return content
