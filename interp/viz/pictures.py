"""PNG pictures one below the other, without an image library: rows are joined as they are compressed.

Every row of a PNG is written as its difference from its neighbours (PNG specification, third edition, section 9), so a
picture's first row is written out before another stands above it; all other rows stay as they are.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

from interp.errors import InputError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 6: 4}  # RGB, RGBA
_SUB, _AVERAGE, _PAETH = 1, 3, 4


def size_of(picture: bytes) -> tuple[int, int]:
    """Width and height in pixels."""
    width, height = struct.unpack(">II", picture[16:24])
    return width, height


def stacked(pictures: Sequence[bytes]) -> bytes:
    """One PNG with the pictures below each other, the first on top.

    pictures: PNGs of 8 bits a channel, in colour, not interlaced, of the same width and kind, as browsers take them.
    Raises InputError for others.
    """
    heads = [picture[16:29] for picture in pictures]
    width = struct.unpack(">I", heads[0][:4])[0]
    depth, colour, *rest = heads[0][8:]
    if depth != 8 or colour not in _CHANNELS or any(rest):
        raise InputError("only plain pictures are joined: 8 bits a channel, in colour, not interlaced")
    if any(head[:4] + head[8:] != heads[0][:4] + heads[0][8:] for head in heads):
        raise InputError("pictures that stand below each other need the same width and the same kind of colours")
    n_bytes = _CHANNELS[colour]
    packer = zlib.compressobj(6)
    data = b"".join(packer.compress(_rows(picture, 1 + width * n_bytes, n_bytes)) for picture in pictures)
    height = sum(size_of(picture)[1] for picture in pictures)
    header = struct.pack(">II", width, height) + heads[0][8:]
    chunks = [(b"IHDR", header), (b"IDAT", data + packer.flush()), (b"IEND", b"")]
    return _SIGNATURE + b"".join(_chunk(*chunk) for chunk in chunks)


def _rows(picture: bytes, row_bytes: int, n_bytes: int) -> bytes:
    rows = zlib.decompress(b"".join(_data(picture)))
    return b"\0" + _written_out(rows[:row_bytes], n_bytes) + rows[row_bytes:]


def _written_out(row: bytes, n_bytes: int) -> bytes:
    """The bytes of a first row, above which there is nothing: there Paeth's predictor is the left neighbour."""
    way, values = row[0], bytearray(row[1:])
    share = {_SUB: 1, _PAETH: 1, _AVERAGE: 2}.get(way)
    if share is not None:
        for i in range(n_bytes, len(values)):
            values[i] = (values[i] + values[i - n_bytes] // share) & 0xFF
    return bytes(values)


def _data(picture: bytes) -> Iterator[bytes]:
    at = len(_SIGNATURE)
    while at < len(picture):
        size, kind = struct.unpack(">I4s", picture[at : at + 8])
        if kind == b"IDAT":
            yield picture[at + 8 : at + 8 + size]
        at += size + 12


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
