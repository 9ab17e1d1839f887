"""Coordinates in which translators are quick to train, and where they start.

Residual streams have a few coordinates that are a hundred times as large as the others, so plain gradient steps on a
translator are steps along those. Here the input is whitened and the output measured in units of the last stream's
spread, h + scale * (M whiten (h - centre) + b): the same affine maps (M = 0, b = 0 is the identity), of which Adam
finds the best in a fraction of the steps. `fold` gives back the weight and bias of the paper.

A start better than the identity costs no product with the vocabulary either: the same sums give the ridge regression of
the last stream on each layer's (its length made equal for all tokens where the final norm divides by it anyway).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.lens.tuned_streams import streams_at, usual_tokens
from interp.runs import progress

RIDGE = 1e-3
"""Added to the variances, as a share of their mean: directions of the stream that hardly vary are left as they are."""


@dataclass(frozen=True, eq=False)
class Coordinates:
    """centre [layer, d_model], whiten [layer, d_model, d_model], scale [d_model]; float32."""

    centre: Float[Tensor, "layer d_model"]
    whiten: Float[Tensor, "layer d_model d_model"]
    scale: Float[Tensor, " d_model"]

    def inputs(self, stream: Float[Tensor, "token d_model"], layer: int) -> Float[Tensor, "token d_model"]:
        """A layer's streams, whitened."""
        return (stream - self.centre[layer]) @ self.whiten[layer].T

    def fold(
        self, mixing: Float[Tensor, "layer d_model d_model"], shift: Float[Tensor, "layer d_model"]
    ) -> tuple[Float[Tensor, "layer d_model d_model"], Float[Tensor, "layer d_model"]]:
        """Weights and biases of the same translators on the stream as it is."""
        weights = self.scale[:, None] * (mixing @ self.whiten)
        return weights, self.scale * shift - torch.einsum("lij,lj->li", weights, self.centre)


def measure_coordinates(
    model: Any, contexts: Int[Tensor, "context pos"], batch: int = 4
) -> tuple[Coordinates, Float[Tensor, "layer d_model d_model"], Float[Tensor, "layer d_model"]]:
    """The coordinates, and the regression's (mixing, shift) in them, from one pass over some contexts."""
    sums = _Sums(equal_lengths=divides_by_length(model))
    with progress(len(contexts), "measuring streams") as bar:
        for rows in contexts.split(batch):
            # Every position but the first: the sums cost little beside the model.
            positions = torch.arange(1, rows.shape[1]).expand(len(rows), -1)
            streams = streams_at(model, rows, positions).flatten(1, 2)
            sums.add(streams[:, usual_tokens(streams)])
            bar.advance(len(rows))
    return sums.coordinates()


@torch.no_grad()
def divides_by_length(model: Any) -> bool:
    """Whether the final norm makes nothing of a stream's length; models without norms do."""
    stream = torch.linspace(-2, 3, int(model.cfg.d_model), device=model.W_U.device, dtype=model.W_U.dtype)[None, None]
    once, twice = model.ln_final(stream), model.ln_final(2 * stream)
    return bool(torch.allclose(once, twice, rtol=1e-2, atol=1e-2 * float(once.abs().max())))


class _Sums:
    """First and second moments of every layer's stream h, and of h with u, the last stream (at a common length)."""

    def __init__(self, equal_lengths: bool) -> None:
        self.equal_lengths = equal_lengths
        self.n = 0
        self.length = 0.0

    def add(self, streams: Float[Tensor, "layer token d_model"]) -> None:
        h, last = streams[:-1], streams[-1]
        if not self.n:
            self.length = float(last.norm(dim=-1).mean())
            shape = h.shape[0], h.shape[2]
            self.h, self.u, self.uu = h.new_zeros(shape), h.new_zeros(shape[1]), h.new_zeros(shape[1])
            self.hh, self.uh = (h.new_zeros(*shape, shape[1]) for _ in range(2))
            # Sums of squares lose digits where a coordinate's mean is far from 0: measured from the first batch's mean.
            self.origin, self.goal = h.mean(1), torch.zeros_like(last[0])
        u = last * (self.length / last.norm(dim=-1, keepdim=True)) if self.equal_lengths else last
        if not self.n:
            self.goal = u.mean(0)
        h, u = h - self.origin[:, None], u - self.goal
        self.n += h.shape[1]
        self.h += h.sum(1)
        self.u += u.sum(0)
        self.uu += (u * u).sum(0)
        self.hh += h.mT @ h
        self.uh += u.T @ h  # [layer, d_model of u, d_model of h]

    def coordinates(self) -> tuple[Coordinates, Tensor, Tensor]:
        h, u = self.h / self.n, self.u / self.n
        scale = (self.uu / self.n - u**2).clamp(min=0).sqrt()
        scale = scale.clamp(min=float(scale.mean()) * 1e-3)
        covariance = self.hh / self.n - h[:, :, None] * h[:, None, :]
        with_u = self.uh / self.n - u[:, None] * h[:, None, :]
        variances, basis = torch.linalg.eigh(shrunk(covariance, self.n))
        lengths = variances.clamp(min=0) + RIDGE * variances.mean(-1, keepdim=True)
        lengths = lengths.sqrt()[:, None, :]
        whiten = (basis / lengths).mT
        ridge = RIDGE * torch.diagonal(covariance, dim1=-2, dim2=-1).mean(-1)
        ridged = covariance + ridge[:, None, None] * torch.eye(h.shape[1], device=h.device)
        slopes = torch.linalg.solve(ridged, (with_u - covariance).mT).mT  # of u - h, since translators are residual
        mixing = slopes @ (basis * lengths) / scale[:, None]  # whiten takes back what this does
        centre = self.origin + h
        return Coordinates(centre, whiten, scale), mixing, (self.goal + u - centre) / scale


def shrunk(covariance: Float[Tensor, "layer d_model d_model"], n_tokens: int) -> Float[Tensor, "layer d_model d_model"]:
    """Covariances moved towards their diagonals, by the share d_model / (d_model + n_tokens).

    Of fewer tokens than directions a covariance knows nothing of most directions and says 0: streams of other tokens,
    whitened by it, are many times too long, and so would the steps be (in SmolLM2, of 124 tokens, 20 times). Each
    coordinate's own variance is known of few tokens.
    """
    share = covariance.shape[-1] / (covariance.shape[-1] + n_tokens)
    diagonal = torch.diag_embed(torch.diagonal(covariance, dim1=-2, dim2=-1))
    return torch.lerp(covariance, diagonal, share)
