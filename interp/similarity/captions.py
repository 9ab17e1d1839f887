"""What figures of similarity say: what the numbers are, what layers are counted by, and what chance gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from interp.results import Values
from interp.similarity.planning import ENTERING

WORDS = {
    "cka": ("CKA", "centred kernel alignment (1: the same up to rotation and scale, about 0: unrelated)"),
    "cca": ("mean CCA", "the mean canonical correlation (1: the same up to a linear map)"),
    "svcca": ("SVCCA", "the mean canonical correlation of the leading principal components"),
    "pwcca": ("PWCCA", "canonical correlations weighted by what they account for in the layer of the row"),
    "procrustes": (
        "Procrustes similarity",
        "the cosine after the best rotation (the squared distance is 2 - 2s)",
    ),
    "rsa": ("RSA", "the rank correlation of the distances between tokens"),
    "mutual_knn": ("mutual neighbours", "the share of nearest neighbours in common (1: the same ones)"),
}
METRICS = {"cosine": "cosine", "euclidean": "Euclidean distance"}
ENOUGH_DRAWS = 19
"""Draws with which a p-value can be 0.05."""
CAVEAT = (
    "Similar representations need not be used alike, and what text and architecture alone make similar shows in an "
    "untrained twin of the model."
)


def meaning_of(measure: str, settings: Mapping[str, Any]) -> str:
    """What a measure is, with those of its options that change what the number is."""
    meaning = WORDS[measure][1]
    if measure == "mutual_knn":
        return f"{meaning}, {settings['k']} of them, nearest by {METRICS[settings['metric']]}"
    return meaning


def axis_words(settings: Mapping[str, Any], two: bool) -> tuple[str, str]:
    """What the rows and the columns count where they are layers."""
    meanings = [str(words or "layer") for words in settings.get("layers") or ["layer"]]
    return meanings[0], f"{meanings[-1]} (other model)" if two else meanings[0]


def layers_words(settings: Mapping[str, Any]) -> str:
    """A sentence on how layers are counted, since other methods count them after their block."""
    if ENTERING not in (settings.get("layers") or []):
        return ""
    return (
        " Layer L is the residual stream that enters block L, the last the output of the last block (`interp probe` "
        "counts the stream after block L, which is layer L + 1 here)."
    )


def pairs_of(data: Tensor, two: bool) -> Tensor:
    """The numbers of a map without repetition: in one model a layer with itself says nothing, and pairs come twice."""
    return data.flatten() if two else data[torch.triu(torch.ones_like(data), 1) > 0]


def pairs_above(made: Mapping[str, Values], two: bool) -> tuple[int, int]:
    """How many pairs are above chance at p ≤ 0.05, corrected for their number, and of how many."""
    p = pairs_of(made["p_adjusted"].data, two)
    return int((p <= 0.05).sum()), p.numel()


def chance_words(made: Mapping[str, Values], two: bool, settings: Mapping[str, Any]) -> str:
    """How many pairs are above chance, corrected for their number; over what; and what chance gives a pair."""
    if "p_adjusted" not in made:
        return ""
    n, documents = settings["n_permutations"], settings["n_tested_documents"]
    tested = f"{n} exchanges of {documents} documents, {settings['n_tested_tokens']} of their tokens"
    if n < ENOUGH_DRAWS:
        return f" {tested}: too few to call any pair unlike chance at p ≤ 0.05."
    highs = pairs_of(made["chance_high"].data, two).nan_to_num()
    least, most = (f"{float(end):.2f}" for end in (highs.min(), highs.max()))
    below = most if least == most else f"{least} to {most}, by pair"
    above, of = pairs_above(made, two)
    count = f"All {of} pairs are" if above == of > 1 else f"{above} of {of} pairs {'is' if above == 1 else 'are'}"
    return (
        f" {count} above what exchanging documents gives (p ≤ 0.05 after correction for {of} pairs by the maximum over "
        f"pairs, each in its own standard deviations, Westfall and Young; {tested}). Exchanged, 95 % of draws stay "
        f"below {below}."
    )
