"""Files out of archives, read into memory by their exact names: nothing is ever unpacked to disk."""

import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from diptych.errors import DataError

_MOST_BYTES = 256 * 2**20  # of one file; CIFAR-100's training batch takes 155 MB


def read_tar_gz(archive: Path, names: Sequence[str]) -> list[bytes]:
    """Read files of a `.tar.gz`.

    Raises:
        DataError: the archive is damaged, cannot be read, or does not hold one of them as a plain file.
    """
    contents: dict[str, bytes] = {}
    try:
        with archive.open("rb") as raw:
            try:
                with tarfile.open(fileobj=raw, mode="r|gz") as members:
                    for member in members:
                        is_wanted = member.name in names and member.isfile() and member.size <= _MOST_BYTES
                        stream = members.extractfile(member) if is_wanted else None
                        if stream is not None:
                            contents[member.name] = stream.read()
            except (tarfile.TarError, EOFError, zlib.error) as error:
                raise DataError(f"{str(archive)!r} is damaged near byte {raw.tell()}: {error}.") from error
    except OSError as error:
        raise DataError(f"Cannot read {str(archive)!r}: {error.strerror or error}.") from error
    return _in_order(archive, names, contents)


def read_zip(archive: Path, names: Sequence[str]) -> list[bytes]:
    """Read files of a `.zip`.

    Raises:
        DataError: the archive is damaged, cannot be read, or does not hold one of them.
    """
    try:
        with zipfile.ZipFile(archive) as members:
            known = {member.filename for member in members.infolist() if member.file_size <= _MOST_BYTES}
            contents = {name: members.read(name) for name in names if name in known}
    # An encrypted member, or one that is packed in another way, is a RuntimeError.
    except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError) as error:
        raise DataError(f"{str(archive)!r} is damaged: {error}.") from error
    except OSError as error:
        raise DataError(f"Cannot read {str(archive)!r}: {error.strerror or error}.") from error
    return _in_order(archive, names, contents)


def _in_order(archive: Path, names: Sequence[str], contents: dict[str, bytes]) -> list[bytes]:
    missing = [name for name in names if name not in contents]
    if missing:
        raise DataError(f"{str(archive)!r} does not hold {', '.join(missing)}: fetch it again.")
    return [contents[name] for name in names]
