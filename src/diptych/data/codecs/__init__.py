"""One file per image format; each reads its own header before anything is decoded, and says why it refuses a file.

Every one of them has the same two functions: `header(encoded)`, cheap, and `rgb(encoded, header)`.
"""
