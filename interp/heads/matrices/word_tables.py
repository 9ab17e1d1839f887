"""Words at the ends of directions as a table that is drawn: a row an end, what is read on the left, written on the
right, coloured by how far each word stands out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from interp.heads.matrices.parts import WeightMatrix
from interp.heads.matrices.vocabulary import DirectionsRead, Vocabulary
from interp.heads.rotating import offset_words
from interp.results import Axis, Plot, Values

Ends = Mapping[str, tuple[int, int]]
"""By the name of a row: which direction, and which of its poles."""
_SAID = {
    "OV": "Attending to what is on the left, the head writes what is on the right",
    "QK": "Queries on the left attend to keys on the right",
    "W_in": "What the neurons read",
    "W_gate": "What the gates of the neurons read",
    "W_out": "What the neurons write",
}


def words_values(
    vocabulary: Vocabulary, groups: Sequence[Mapping[str, tuple[DirectionsRead, Ends]]]
) -> tuple[Values, list[list[str]]]:
    """standing [end, word] of groups of rows, one below the other, and the words in the same places.

    Each group says by side what was read of its directions and which of their ends are its rows; all have the same
    sides, which stand beside each other.
    """
    numbers, words, rows, columns = [], [], [], []
    for group in groups:
        ends = next(iter(group.values()))[1]
        rows += list(ends)
        picked = [(read.standing[at], read.ids[at]) for read, at in _places(group)]
        numbers.append(torch.cat([standing for standing, _ in picked], dim=1))
        words += vocabulary.words(torch.cat([ids for _, ids in picked], dim=1))
        columns = [f"{side} {rank + 1}" for side, (read, _) in group.items() for rank in range(read.ids.shape[-1])]
    axes = (Axis("end", tuple(rows)), Axis("word", tuple(columns)))
    return Values(torch.cat(numbers), axes, "SD over the vocabulary", "how far each word stands out"), words


def _places(group: Mapping[str, tuple[DirectionsRead, Ends]]) -> list[tuple[DirectionsRead, tuple[Any, Any]]]:
    """What was read, and the index of its rows."""
    return [(read, tuple(torch.tensor(list(ends.values())).T)) for read, ends in group.values()]


def words_plot(matrix: WeightMatrix, offset: int | None) -> Plot:
    """The words of one matrix, whose values and texts bear its name."""
    # The heads of a layer are held against the same random matrices.
    whose = "a random matrix" + ", the same for all heads of a layer" * (not isinstance(matrix.part, int))
    return standing_plot(
        matrix.name,
        matrix.name,
        title=f"{matrix.name}: words of the singular directions",
        caption=f"{_SAID[matrix.matrix]}: the two ends (+ and −) of each singular direction, largest first, and of the "
        f"first direction of {whose}.{offset_words(offset) if matrix.matrix == 'QK' else ''}",
    )


def standing_plot(values: str, texts: str, *, title: str, caption: str) -> Plot:
    """What `words_values` gives, kept under these names, as a table coloured by how far each word stands out."""
    return Plot(
        "heatmap",
        values,
        x="word",
        y="end",
        title=title,
        caption=caption,
        caveat="Words are read with the embedding and the unembedding; what layers in between do to them is left out.",
        options={
            "cell_text": texts,
            "show_spaces": True,
            "colour_label": "stands out (SD)",
            "colour_range": [3, 9],
        },
    )


def words_of_direction(words: Sequence[str], sides: Sequence[str]) -> dict[str, str]:
    """The words of one row by side, as text with visible borders: ' the' 'The'."""
    each = len(words) // len(sides)
    return {side: " ".join(quoted(word) for word in words[i * each : (i + 1) * each]) for i, side in enumerate(sides)}


def quoted(word: str) -> str:
    """A word with visible borders, so that ' the' is told from 'the'; a backslash, as of bytes, is left as it is."""
    plain = "".join(c if c.isprintable() else repr(c)[1:-1] for c in word)
    return f'"{plain}"' if "'" in plain else f"'{plain}'"
