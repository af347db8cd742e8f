"""CIFAR's Python batches as Python 2 pickled them, byte by byte."""

import struct


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
