"""Lines that run over each other, drawn so that every one of them can be seen."""

from __future__ import annotations

import numpy as np

Array = np.ndarray

NEAR = 0.012
"""Share of the height of a figure within which two lines cover each other: about the thickness of a line."""
STRIPE = 8
"""Pixels of a stripe of one colour where lines run over each other."""
MOST = 4
"""Lines of one group with stripes of their own; more would leave gaps longer than a line in the legend."""


def covering(data: Array, height: float) -> list[tuple[int, int]]:
    """For each line its place among those that run over each other, and how many such places there are; (0, 1) alone.

    data: [line, x], as drawn. height: what the figure spans in the same numbers. Lines run over each other where they
    are near at two neighbouring points, or at the only one.
    """
    n = len(data)
    near = np.array([[i != j and _meet(data[i], data[j], NEAR * height) for j in range(n)] for i in range(n)])
    place = [0] * n
    group = list(range(n))
    for i in range(n):
        taken = {place[j] for j in range(i) if near[i, j]}
        place[i] = next(k for k in range(n) if k not in taken) % MOST
        for j in range(i):
            if near[i, j]:
                old, new = group[i], group[j]
                group = [new if g == old else g for g in group]
    return [(place[i], 1 + max(place[j] for j in range(n) if group[j] == group[i])) for i in range(n)]


def _meet(a: Array, b: Array, distance: float) -> bool:
    close = np.abs(a - b) <= distance  # False where there is no number
    return bool(close.any() if len(close) < 2 else (close[1:] & close[:-1]).any())


def stripes(place: int, places: int) -> str:
    """The dash of a line among others that run over it: the first is whole, the others fill each other's gaps."""
    if place == 0:
        return "solid"
    return f"0px,{place * STRIPE}px,{STRIPE}px,{(places - 1 - place) * STRIPE}px"


def marker_size(place: int, places: int) -> int:
    """Pixels of a marker: those drawn first are larger, so that they show as rings around the later ones."""
    return 5 + 3 * (places - 1 - place)
