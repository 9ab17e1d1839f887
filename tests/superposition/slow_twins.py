"""The obvious way: one model, one setting, one seed, a loop written by hand."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def train_one(
    n_features: int,
    n_hidden: int,
    density: float,
    importance: Tensor,
    seed: int,
    *,
    n_steps: int,
    batch_size: int,
    learning_rate: float,
    relu: bool = True,
) -> tuple[Tensor, Tensor]:
    """W and the bias of one model, gradients by hand and Adam by its formula."""
    generator = torch.Generator().manual_seed(2 * seed)
    w = torch.empty(n_hidden, n_features).normal_(0, math.sqrt(2 / (n_features + n_hidden)), generator=generator)
    b = torch.zeros(n_features)
    moments = [[torch.zeros_like(p), torch.zeros_like(p)] for p in (w, b)]
    for step in range(n_steps):
        u = torch.empty(batch_size, n_features).uniform_(generator=generator)
        x = torch.where(u < density, u / density, torch.zeros(()))
        hidden = x @ w.T
        before = hidden @ w + b
        y = before.clamp_min(0) if relu else before
        slope = (before > 0).float() if relu else torch.ones_like(before)
        back = 2 * importance * (y - x) * slope / batch_size
        gradients = [hidden.T @ back + (back @ w.T).T @ x, back.sum(0)]
        rate = learning_rate * 0.5 * (1 + math.cos(math.pi * step / n_steps))
        for p, gradient, (first, second) in zip((w, b), gradients, moments):
            first.mul_(0.9).add_(gradient, alpha=0.1)
            second.mul_(0.999).add_(gradient.square(), alpha=0.001)
            size = (second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
            p.sub_(rate * first / (1 - 0.9 ** (step + 1)) / size)
    return w, b


def dimensionality_of(w: Tensor, i: int) -> float:
    """Dᵢ by the formula, for one feature."""
    own = w[:, i]
    length = float(own.norm())
    if length < 0.03:
        return 0.0
    unit = own / length
    return length**2 / sum(float(unit @ w[:, j]) ** 2 for j in range(w.shape[1]))
