"""What a probe learns anew from changed activations: a linear one, and a perceptron, since what no linear probe reads
any more may still be there."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.probing.solving.decorrelating import decorrelate
from interp.probing.solving.families import Family
from interp.probing.splitting import grouped_folds, numbered
from interp.probing.validating import Design, choose_penalty, fit_variants, predictions

PENALTIES = {"logistic": (1.0, 0.1, 0.01, 0.001), "mlp": (0.003,)}
"""Of each kind of probe; a perceptron costs too much to try several."""
HIDDEN = 32


def retrained(
    x: Float[Tensor, "site row feature"],
    labels: Int[Tensor, " row"],
    groups: Int[Tensor, " row"],
    fitted: Bool[Tensor, " row"],
    n_classes: int,
    probe: str,
    seed: int,
) -> Bool[Tensor, "site held_out"]:
    """Whether a probe learnt from the fitted rows is right about each of the others, at every site.

    Where there are several penalties one is chosen by two folds of the fitted rows, whole groups in each.
    """
    family = Family(probe, hidden=HIDDEN, seed=seed)
    coordinates = decorrelate(x, fitted.to(x.device))
    rows = coordinates.of(x[:, fitted])
    learnt = labels[fitted]
    within = numbered(groups[fitted].tolist())
    inner = grouped_folds(learnt, within, 2, seed)
    folds = torch.zeros_like(labels)
    folds[fitted] = inner
    design = Design(labels[None], labels[None], folds, folds[None], folds, 1, n_classes, PENALTIES[probe])
    l2 = torch.full((len(x),), PENALTIES[probe][0], device=rows.device)
    if len(design.grid) > 1:
        l2, _ = choose_penalty(family, rows, learnt, inner, coordinates.variance, design)
    found = fit_variants(family, rows, learnt[None], inner, coordinates.variance, l2, n_classes)
    logits = found.logits(coordinates.of(x[:, ~fitted]))
    return (predictions(logits)[:, 0] == labels[~fitted].to(logits.device)).cpu()
