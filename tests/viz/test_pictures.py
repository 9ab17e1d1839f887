from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
import torch

from interp.errors import InputError
from interp.viz.pictures import size_of, stacked
from tests.viz.test_browser import pixels_of

CHANNELS = {2: 3, 6: 4}


def predicted(way: int, left: int, above: int, corner: int) -> int:
    """What a row filter expects (PNG specification, section 9)."""
    paeth = min((left, above, corner), key=lambda value: abs(left + above - corner - value))
    return (0, left, above, (left + above) // 2, paeth)[way]


def png(pixels: torch.Tensor, ways: list[int], colour: int = 2, depth: int = 8) -> bytes:
    """A picture [row, column, channel] whose rows are filtered in the given ways."""
    height, width, channels = pixels.shape
    rows, above = b"", [0] * (width * channels)
    for way, values in zip(ways, pixels.flatten(1).tolist(), strict=True):
        before = [0] * channels
        lefts, corners = [*before, *values], [*before, *above]
        expected = [predicted(way, *three) for three in zip(lefts, above, corners, strict=False)]
        rows += bytes([way, *((value - guess) % 256 for value, guess in zip(values, expected, strict=True))])
        above = values
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"tEXt", b"any\0thing"), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = [struct.pack(">I", len(data)) + kind + data + b"....."[:4] for kind, data in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def noise(height: int, seed: int, channels: int = 3) -> torch.Tensor:
    return torch.randint(256, (height, 5, channels), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("way", range(5))
@pytest.mark.parametrize("colour", CHANNELS)
def test_pictures_stand_below_each_other_however_their_rows_are_filtered(way: int, colour: int, tmp_path: Path) -> None:
    parts = [noise(height, i, CHANNELS[colour]) for i, height in enumerate((3, 2, 1))]
    joined = stacked([png(part, [way] * len(part), colour) for part in parts])
    assert size_of(joined) == (5, 6)
    path = tmp_path / "joined.png"
    path.write_bytes(joined)
    assert pixels_of(path) == [tuple(pixel) for pixel in torch.cat(parts)[..., :3].flatten(0, 1).tolist()]


def test_pictures_that_do_not_fit_are_refused() -> None:
    one = png(noise(1, 0), [0])
    with pytest.raises(InputError, match="the same width"):
        stacked([one, png(noise(1, 0)[:, :3], [0])])
    with pytest.raises(InputError, match="8 bits a channel"):
        stacked([png(noise(1, 0), [0], depth=16)])
