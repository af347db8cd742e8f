"""Write files so that a crash leaves the old file or the new one, and read them."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any, BinaryIO, TypeVar

import msgspec
import numpy as np
import safetensors

from diptych.errors import ArtifactError, cannot_read
from diptych.files import read_regular, regular

_NUMBERS = "bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64 complex64".split()
SAFETENSORS_TYPES = dict(zip(_NUMBERS, "BOOL U8 I8 U16 I16 U32 I32 U64 I64 F16 F32 F64 C64".split(), strict=True))
_DTYPES = {name: np.dtype(kind).newbyteorder("<") for kind, name in SAFETENSORS_TYPES.items()}

# What NumPy and zipfile raise for damaged files.
_DAMAGED = (ValueError, EOFError, SyntaxError, RuntimeError, OverflowError, zipfile.BadZipFile, zlib.error)
T = TypeVar("T")


@contextmanager
def atomic_write(path: Path, size: int | None = None) -> Iterator[BinaryIO]:
    """Open a binary file that replaces `path` when the block ends without an error; parent folders are made.

    Raises ArtifactError when the system refuses; it names path, bytes (of `size`, if known) and the space that is left.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    written = 0
    try:
        make_folder(path.parent)
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            written = temporary.stat().st_size
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                written = temporary.stat().st_size
                temporary.unlink()
            raise
        sync(path.parent)
    except OSError as error:
        raise refusal(path, error, written, size) from error


def leftovers(folder: Path) -> list[Path]:
    """Return the temporary files that killed processes left in a folder; call it as the folder's only writer."""
    return [path for path in folder.glob(f".*.{'[0-9a-f]' * 8}.tmp") if path.is_file()]


def refusal(path: Path, error: OSError, written: int = 0, size: int | None = None) -> ArtifactError:
    """Return the error to raise when the system refused to write `path` after some bytes (of `size`)."""
    advice = "Write to another folder, or make this one writable"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            folder = next(folder for folder in path.absolute().parents if folder.exists())
            advice = f"{shutil.disk_usage(folder).free:,} bytes are free there; make room, or raise the quota"
        case errno.EFBIG:
            advice = "Allow larger files (ulimit -f), or write to another file system"
        case errno.EIO:
            advice = "The disk may be failing; write to another one"
    of = "" if size is None else f" of {size:,}"
    return ArtifactError(f"Cannot write '{path}': {error.strerror or error} after {written:,}{of} bytes. {advice}.")


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, durably."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files, durably; raises ArtifactError when the system refuses."""
    for path in paths:
        try:
            path.unlink(missing_ok=True)
            sync(path.parent)
        except OSError as error:
            raise ArtifactError(f"Cannot remove '{path}': {error.strerror}.") from error


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def json_text(content: object, *, indent: int = 0) -> str:
    """Return strict JSON; NumPy values become numbers and lists, non-finite numbers null, structs objects."""
    return msgspec.json.format(msgspec.json.encode(content, enc_hook=_plain), indent=indent).decode()


def _plain(value: Any) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return dict(value) if isinstance(value, Mapping) else str(value) if isinstance(value, PurePath) else value


def write_json(path: Path, content: Mapping[str, Any] | msgspec.Struct) -> None:
    """Write `content` as indented JSON (see `json_text`)."""
    write_parts(path, f"{json_text(content, indent=2)}\n".encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises ArtifactError when the file is missing, broken or not an object."""
    return parse_json(path, read_bytes(path), dict[str, Any])


def read_bytes(path: Path) -> bytes:
    """Read a file; raises ArtifactError when the system refuses."""
    try:
        return read_regular(path)
    except OSError as error:
        raise ArtifactError(f"Cannot read '{path}': {error.strerror}.") from error


def parse_json(path: Path, content: bytes, kind: type[T], advice: str = "") -> T:
    """Parse a JSON file as a type; raises ArtifactError, which names the entry and the fault, when it does not fit."""
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        fault = entry_first(str(error))
    except (ValueError, RecursionError) as error:  # ValueError: UnicodeDecodeError, DecodeError
        fault = f"it is not JSON ({error})."
    raise ArtifactError(f"Cannot read '{path}': {fault}{advice}")


def entry_first(message: str) -> str:
    """Return a message of msgspec, such as "Expected `int`, got `str` - at `$.seed`", with the entry first."""
    fault, _, place = message.partition(" - at `$")
    place = place.rstrip("`").lstrip(".")
    if missing := re.search(r"missing required field `(\w+)`", fault):
        return f"'{'.'.join(filter(None, [place, missing[1]]))}' is missing."
    if place == "version":
        return f"unsupported version {fault.rpartition(' ')[2]}."
    fault = f"{fault[:1].lower()}{fault[1:].rstrip('.')}."
    return f"'{place}': {fault}" if place else fault


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write named arrays and text metadata as safetensors; arrays keep shape and dtype."""
    write_parts(path, *array_parts(arrays, metadata))


def write_parts(path: Path, *parts: bytes | memoryview) -> str:
    """Write a file from parts in memory; return its SHA-256."""
    digest = hashlib.sha256()
    with atomic_write(path, sum(map(len, parts))) as file:
        for part in parts:
            file.write(part)
            digest.update(part)
    return digest.hexdigest()


def array_parts(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> list[bytes | memoryview]:
    """Return a safetensors file in parts: its header, and the memory of each array.

    The library's own `save` copies all numbers twice, permutes those of transposed arrays, and writes metadata in
    random order. The format: https://github.com/huggingface/safetensors#format
    """
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    numbers: list[memoryview] = []
    end = 0
    # The widest first, so that each array is aligned.
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])):
        if array.dtype.name not in SAFETENSORS_TYPES:
            raise ArtifactError(f"safetensors does not support {array.dtype.name}, the type of '{name}'.")
        # `asarray`, because `ascontiguousarray` would turn a scalar into a vector.
        plain = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
        start, end = end, end + plain.nbytes
        kind = SAFETENSORS_TYPES[array.dtype.name]
        header[name] = {"dtype": kind, "shape": plain.shape, "data_offsets": [start, end]}
        numbers.append(plain.reshape(-1).view(np.uint8).data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little"), text, *numbers]


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the arrays and the metadata of a safetensors file; raises ArtifactError when it is missing or broken.

    bfloat16, which NumPy lacks, becomes float32 without loss.
    """
    content = read_bytes(path)
    try:
        entries = safetensors.deserialize(content)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ArtifactError(f"Cannot read '{path}': the safetensors file is corrupt or truncated ({error}).") from error
    arrays = {}
    for name, entry in entries:
        if entry["dtype"] == "BF16":
            numbers = (np.frombuffer(entry["data"], "<u2").astype("<u4") << 16).view("<f4")
        elif entry["dtype"] in _DTYPES:
            numbers = np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).copy()
        else:
            raise ArtifactError(f"Cannot read '{path}': NumPy lacks the number type {entry['dtype']} of {name!r:.60}.")
        arrays[name] = numbers.reshape(entry["shape"])
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return arrays, header.get("__metadata__", {})


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as an uncompressed .npz; texts get a fixed width; Python objects raise ValueError."""
    plain = {name: np.array(a.tolist(), np.str_) if a.dtype.kind == "T" else a for name, a in arrays.items()}
    with atomic_write(path) as file:
        np.savez(file, allow_pickle=False, **plain)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read every array of an .npz; raises ArtifactError when it is missing, broken or holds pickles."""
    try:
        with open(path, "rb", opener=regular) as file, np.load(file, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, *_DAMAGED, struct.error) as error:
        raise cannot_read(path, ".npz file", error) from error


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    try:
        with open(path, "rb", opener=regular) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"Cannot read '{path}': {error.strerror}.") from error
