"""Files in archives, read into memory by their exact names; nothing is unpacked to disk."""

import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from diptych.errors import DataError

_MAX_BYTES = 256 * 2**20  # of one file; CIFAR-100's training batch takes 155 MB


def read_members(archive: Path, names: Sequence[str]) -> list[bytes]:
    """Read files of a `.tar.gz` or `.zip`.

    Raises:
        DataError: the archive is damaged, cannot be read, or does not hold one of them as a plain file.
    """
    contents: dict[str, bytes] = {}
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as members:
                known = {member.filename for member in members.infolist() if member.file_size <= _MAX_BYTES}
                contents = {name: members.read(name) for name in names if name in known}
        else:
            with tarfile.open(archive, "r|gz") as stream:
                for member in stream:
                    if member.name in names and member.isfile() and member.size <= _MAX_BYTES:
                        content = stream.extractfile(member)
                        contents[member.name] = content.read() if content else b""
    # An encrypted member of a zip, or one that is packed in another way, is a RuntimeError.
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, RuntimeError) as error:
        raise DataError(f"{str(archive)!r} is damaged: {error}.") from error
    except OSError as error:
        raise DataError(f"Cannot read {str(archive)!r}: {error.strerror or error}.") from error
    missing = [name for name in names if name not in contents]
    if missing:
        raise DataError(f"{str(archive)!r} does not hold {', '.join(missing)}: download it again.")
    return [contents[name] for name in names]
