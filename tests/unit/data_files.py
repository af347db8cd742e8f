"""Small files of data: images, IDX, archives, and batches of CIFAR as NumPy under Python 2 pickled them."""

import io
import struct
import tarfile
import zipfile

import cv2
import numpy as np

from diptych.data import sources


def random_bytes(*shape):
    return np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)


def png(level):
    return cv2.imencode(".png", np.full((6, 8, 3), level, dtype=np.uint8))[1].tobytes()


def write_files(root, members):
    for name, content in members.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def write_image(path, level):
    write_files(path.parent, {path.name: png(level)})


def write_table(path, text, **images):
    """Write a table, and beside it an image for each name, without its suffix, of the level given."""
    write_files(path.parent, {path.name: text if isinstance(text, bytes) else text.encode()})
    for name, level in images.items():
        write_image(path.with_name(f"{name}.png"), level)
    return path


def write_images(folder, *levels):
    """Make a folder with one flat image for each level, in an order of names that is not the order of writing."""
    folder.mkdir(parents=True, exist_ok=True)
    write_files(folder, {f"{index:03}.png": png(level) for index, level in reversed(list(enumerate(levels)))})


def listing(path, **options):
    return sources.find(str(path), **options).listing


def ids_and_labels(listed):
    """Return (id, label) of each image."""
    return list(zip(listed.ids.tolist(), listed.labels.tolist(), strict=True))


def levels_of(listed):
    """Return the level of each encoded image."""
    contents = [listed.images.read(index) for index in range(len(listed))]
    return [int(cv2.imdecode(np.frombuffer(content, np.uint8), 1)[0, 0, 0]) for content in contents]


def idx_bytes(values, type_code=8):
    header = bytes((0, 0, type_code, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.tobytes()


def tar_bytes(members, *links):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, inside in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(inside)
            archive.addfile(member, io.BytesIO(inside))
        for link in links:
            archive.addfile(link)
    return content.getvalue()


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def python_batch(rows, labels, *, type_code=b"u1", is_fortran=False, labels_opcodes=None, key="labels"):
    """Pickle a batch as Python 2's cPickle and its NumPy did for the published files, opcode by opcode."""

    def text(content):
        return b"U" + bytes([len(content)]) + content

    def number(value):
        return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)

    raw = rows.tobytes(order="F" if is_fortran else "C")
    return b"".join(
        [
            b"\x80\x02}q\x01(",
            text(b"batch_label") + b"q\x02" + text(b"training batch 1 of 5") + b"q\x03",
            text(key.encode()) + b"q\x04",
            labels_opcodes or b"]q\x05(" + b"".join(number(label) for label in labels) + b"e",
            text(b"data") + b"q\x06",
            b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\x09",
            b"(K\x01" + number(rows.shape[0]) + number(rows.shape[1]) + b"\x86",
            b"cnumpy\ndtype\nq\x0a" + text(type_code) + b"K\x00K\x01\x87Rq\x0b",
            b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            (b"\x88" if is_fortran else b"\x89") + b"T" + struct.pack("<I", len(raw)) + raw + b"tb",
            text(b"filenames") + b"q\x0c]q\x0d(" + text(b"leptodactylus.png") + b"q\x0eeu.",
        ]
    )
