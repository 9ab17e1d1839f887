"""What a map of similarities shows, in sentences made of its numbers, with which a report begins."""

from __future__ import annotations

import torch

from interp.similarity.captions import ENOUGH_DRAWS, WORDS, pairs_above
from interp.similarity.similarity_map import SimilarityMap


def summary(found: SimilarityMap) -> list[str]:
    """A few sentences: how alike neighbours are (or two models at the same layer), where that is least, what is most
    and least alike elsewhere, and how many pairs are above chance.

    >>> print(*interp.similarity.summary(found), sep="\\n")
    """
    title = WORDS[found.settings["measure"]][0]
    title = "The share of mutual neighbours" if title == "mutual neighbours" else title[:1].upper() + title[1:]
    if found.map.numel() == 1:
        rows, columns = found.values["similarity"].axes
        return [f"{title} of {rows.labels[0]} with {columns.labels[0]}: {_number(found, 0, 0)}.", *_chance(found)]
    two = bool(found.settings["two_models"])
    sentences = _beside(found, title, two) + ([_most_alike(found)] if two else []) + [_least_alike(found, two)]
    return [*filter(None, sentences), *_chance(found)]


def _beside(found: SimilarityMap, title: str, two: bool) -> list[str]:
    """Neighbours within a model, or the same layer of two: the median, and where it is least."""
    name = "same_layer" if two else "next_layer"
    if name not in found.values:
        return []
    numbers = found.values[name].data
    where = torch.nonzero(~numbers.isnan())[:, 0]
    if not len(where):
        return []
    step = 0 if two else 1
    least, most = (int(where[pick(numbers[where])]) for pick in (torch.argmin, torch.argmax))
    middle = f"{float(numbers[where].quantile(0.5)):.3g}"
    if two:
        return [
            f"{title} of the two models at the same {_what(found)} is {middle} in the median: most at "
            f"{_label(found, most)} ({_number(found, most, most)}), least at {_label(found, least)} "
            f"({_number(found, least, least)})."
        ]
    return [
        f"{title} of neighbouring {_what(found)}s is {middle} in the median. The largest drop from one to the next is "
        f"from {_label(found, least)} to {_label(found, least + step)}: {_number(found, least, least + step)}; the "
        f"smallest from {_label(found, most)} to {_label(found, most + step)}: {_number(found, most, most + step)}."
    ]


def _most_alike(found: SimilarityMap) -> str:
    data = found.map.nan_to_num(nan=-torch.inf)
    if not bool(data.isfinite().any()):
        return ""
    row, column = divmod(int(data.argmax()), data.shape[1])
    return (
        f"Most alike of all pairs are {_label(found, row)} of the first model and {_label(found, column, 1)} of the "
        f"other: {_number(found, row, column)}."
    )


def _least_alike(found: SimilarityMap, two: bool) -> str:
    data = found.map.nan_to_num(nan=torch.inf)
    if not bool(data.isfinite().any()):
        return ""
    row, column = divmod(int(data.argmin()), data.shape[1])
    first, other = (" of the first model", " of the other") if two else ("", "")
    pair = f"{_label(found, row)}{first} and {_label(found, column, 1)}{other}"
    return f"Least alike of all pairs are {pair}: {_number(found, row, column)}."


def _chance(found: SimilarityMap) -> list[str]:
    n = int(found.settings["n_permutations"] or 0)
    if "p_adjusted" not in found.values or n < ENOUGH_DRAWS:
        return []
    if found.map.numel() == 1:
        p = found.values["p_value"].data
        return [] if bool(p.isnan().all()) else [f"Exchanging documents {n} times gives p = {float(p):.2g}."]
    above, of = pairs_above(found.values, bool(found.settings["two_models"]))
    return [f"{above} of {of} pairs are above what exchanging documents gives (p ≤ 0.05, corrected for their number)."]


def _what(found: SimilarityMap) -> str:
    return "layer" if found.values["similarity"].dims[0] == "layer" else "site"


def _label(found: SimilarityMap, place: int, side: int = 0) -> str:
    label = found.values["similarity"].axes[side].labels[place]
    return f"layer {label}" if isinstance(label, int) else str(label)


def _number(found: SimilarityMap, row: int, column: int) -> str:
    """A similarity with its interval."""
    text = f"{float(found.map[row, column]):.3g}"
    if "low" not in found.values:
        return text
    low, high = (float(found.values[end].data[row, column]) for end in ("low", "high"))
    return text if low != low else f"{text} [{low:.3g}, {high:.3g}]"
