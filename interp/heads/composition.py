"""Composition: how much of what one head reads is what an earlier head writes, measured on the weights.

    Q    |W_OV1 W_QK2| / (|W_OV1| |W_QK2|)         the later head's queries read what the earlier head wrote
    K    |W_OV1 W_QK2^T| / (|W_OV1| |W_QK2|)       its keys do: an induction head and its previous-token head
    V    |W_OV1 W_OV2| / (|W_OV1| |W_OV2|)         its values do

with Frobenius norms and row vectors (W_OV = W_V W_O, W_QK = W_Q W_K^T). Elhage et al. 2021, "A Mathematical Framework
for Transformer Circuits", its section on two-layer models; they, too, hold it against random matrices of that shape.

A product A M B with tall A and wide B has the norm of R_A M R_B^T, R from the QR decompositions of A and B^T: what is
multiplied for a pair of heads is d_head x d_model by d_model x d_head, and that for two whole layers at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError, unknown
from interp.heads.rotating import checked_offset, offset_words, rotated
from interp.heads.weights import HeadWeights, folded_heads
from interp.hooks.head_names import HeadLike, as_heads, head_name
from interp.models import identity
from interp.results import Axis, Plot, Result, Values
from interp.runs import provenance

KINDS = {"q": "queries", "k": "keys", "v": "values"}


class CompositionScores(Result):
    """score [source, destination]: composition of a head with an earlier one, 0 to 1; NaN unless source is earlier.

    above [source, destination]: score less the baseline. baseline, baseline_low, baseline_high: mean and 95 % range of
    pairs of random heads of the same shape.
    """

    kind: ClassVar[str] = "composition_scores"

    def best(self, n: int = 10) -> pd.DataFrame:
        """The n pairs that compose most: source, destination, score, above."""
        frame = self.to_frame("score").rename(columns={"value": "score"}).dropna(subset="score")
        frame["above"] = frame["score"] - float(self.values["baseline"].data)
        return frame.nlargest(n, "score").reset_index(drop=True)


@torch.no_grad()
def composition_scores(
    model: Any,
    kind: str = "k",
    *,
    sources: Sequence[HeadLike] | None = None,
    destinations: Sequence[HeadLike] | None = None,
    offset: int = 0,
    n_random: int = 200,
    seed: int = 0,
) -> CompositionScores:
    """Q-, K- or V-composition of every head with every head of a later layer, norms folded.

    sources, destinations: heads ("16.0") to show; all of them unless given. offset: how many tokens before the query
    the key lies, on which Q and K depend in a rotary model; 0 leaves the rotation out. n_random, seed: pairs of heads
    with Gaussian weights that give the baseline. Raises InputError for an unknown kind, and for models whose heads
    cannot be read from weights.
    """
    started = datetime.now()
    if kind not in KINDS:
        raise unknown("kind of composition", kind, KINDS)
    if n_random < 2:
        raise InputError(f"n_random={n_random} gives no baseline; use at least 2 random pairs")
    stated = None if kind == "v" else checked_offset(model, offset)
    score = _all_pairs(model, kind, offset)
    names = tuple(head_name(divmod(i, int(model.cfg.n_heads))) for i in range(len(score)))
    axes = (Axis("source", names), Axis("destination", names))
    drawn = random_composition(int(model.cfg.d_model), int(model.cfg.d_head), n_random, seed)
    low, high = torch.quantile(drawn, torch.tensor([0.025, 0.975])).unbind()
    every = Values(score, axes, "", "Frobenius norm of the product over the product of the norms")
    shown = every.sel(
        source=[head_name(head) for head in as_heads(model, sources)] if sources else list(names),
        destination=[head_name(head) for head in as_heads(model, destinations)] if destinations else list(names),
    )
    return CompositionScores(
        values={
            "score": shown,
            "above": Values(shown.data - drawn.mean(), shown.axes, "", "score less the mean of random heads"),
            "baseline": Values(drawn.mean(), (), "", "mean over pairs of random heads"),
            "baseline_low": Values(low, (), "", "2.5 % of the random pairs are below"),
            "baseline_high": Values(high, (), "", "2.5 % of the random pairs are above"),
        },
        settings={"kind": kind, "offset": stated, "n_random": n_random, "norms": "folded"},
        provenance=provenance(model=identity(model), seed=seed, started=started),
        plots=(_plot(kind, stated),),
    )


def _plot(kind: str, offset: int | None) -> Plot:
    words = offset_words(offset, "Rotary positions: QK")
    return Plot(
        "heatmap",
        "above",
        x="destination",
        y="source",
        title=f"{kind.upper()}-composition",
        caption=f"How much of what a head's {KINDS[kind]} read an earlier head writes, above random heads.{words}",
        caveat="A property of the weights: it says what a head could read, not what it does read on some prompt.",
        options={"zero_centred": True, "colour_label": "above random"},
    )


def _all_pairs(model: Any, kind: str, offset: int) -> Float[Tensor, "source destination"]:
    """Scores of all pairs of heads, NaN where the source does not come before the destination."""
    n_layers, n_heads = int(model.cfg.n_layers), int(model.cfg.n_heads)
    layers = [folded_heads(model, layer) for layer in range(n_layers)]
    writers = [writing_side(weights) for weights in layers]
    scores = torch.full((n_layers, n_heads, n_layers, n_heads), float("nan"))
    for later in range(1, n_layers):
        reader = reading_side(model, layers[later], kind, later, offset)
        for earlier in range(later):
            scores[earlier, :, later, :] = pair_norms(writers[earlier], reader).cpu()
    return scores.view(n_layers * n_heads, n_layers * n_heads)


def writing_side(weights: HeadWeights) -> Float[Tensor, "head d_head d_model"]:
    """R W_O with W_V = Q R, over |W_V W_O|: what the earlier head writes, in an orthonormal basis of its input."""
    return _unit(_r_of(weights.W_V) @ weights.W_O)


def reading_side(
    model: Any, weights: HeadWeights, kind: str, layer: int, offset: int
) -> Float[Tensor, "head d_model d_head"]:
    """What the later head reads, in an orthonormal basis of what becomes of it, with norm 1."""
    if kind == "v":
        return _unit(weights.W_V @ _r_of(weights.W_O.mT).mT)
    W_Q = rotated(model, layer, weights.W_Q, offset)
    read, other = (W_Q, weights.W_K) if kind == "q" else (weights.W_K, W_Q)
    return _unit(read @ _r_of(other).mT)


def pair_norms(
    written: Float[Tensor, "source d_head d_model"], read: Float[Tensor, "destination d_model d_head"]
) -> Float[Tensor, "source destination"]:
    """Frobenius norm of every product written[i] @ read[j]: one matrix product for all of them."""
    n_sources, d_head, d_model = written.shape
    n_destinations, _, width = read.shape
    products = written.reshape(-1, d_model) @ read.permute(1, 0, 2).reshape(d_model, -1)
    return products.view(n_sources, d_head, n_destinations, width).pow_(2).sum((1, 3)).sqrt_()


def random_composition(d_model: int, d_head: int, n: int, seed: int) -> Float[Tensor, " n"]:
    """Composition scores of n pairs of heads whose four matrices are Gaussian; the kind makes no difference."""
    generator = torch.Generator().manual_seed(seed)
    scores = []
    for _ in range(n):
        value, key, output, query = (torch.randn(1, d_model, d_head, generator=generator) for _ in range(4))
        written, read = _unit(_r_of(value) @ output.mT), _unit(key @ _r_of(query).mT)
        scores.append(pair_norms(written, read)[0, 0])
    return torch.stack(scores)


def _r_of(tall: Float[Tensor, "head rows columns"]) -> Float[Tensor, "head columns columns"]:
    """R of the QR decomposition of each matrix: |tall M| = |R M| for every M."""
    return torch.linalg.qr(tall, mode="r").R


def _unit(matrices: Float[Tensor, "head rows columns"]) -> Float[Tensor, "head rows columns"]:
    """Each divided by its Frobenius norm; a matrix of zeros composes with nothing and stays zero."""
    norms = torch.linalg.matrix_norm(matrices)[:, None, None]
    return matrices / norms.clamp(min=torch.finfo(matrices.dtype).tiny)
