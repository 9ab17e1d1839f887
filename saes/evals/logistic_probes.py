"""Logistic probes for known features: how well any one linear direction with a threshold can tell where they fire.

The ceiling for dictionaries whose latents are one linear read-out each. Probes see the features' true labels, which no
dictionary does.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saes.evals.feature_recovery import Detection, detection
from saes.evals.known_features import Tokens

RIDGE = 1e-5
ITERATIONS = 60


def probe_ceiling(train: Tokens, test: Tokens, features: Int[Tensor, " probed"]) -> Detection:
    """What probes of some features, fitted on some tokens, say about others.

    Thresholds are those of the largest F1 on the tokens they were fitted on.
    """
    mean, spread = train.x.mean(0), train.x.std(0).clamp_min(1e-6)
    x, unseen = (train.x - mean) / spread, (test.x - mean) / spread
    labels = train.active[:, features]
    weight, bias = fit_probes(x, labels)
    limits = best_thresholds(x @ weight + bias, labels)
    return detection(unseen @ weight + bias >= limits, test.active[:, features])


def fit_probes(
    x: Float[Tensor, "token d_in"], labels: Bool[Tensor, "token probed"]
) -> tuple[Float[Tensor, "d_in probed"], Float[Tensor, " probed"]]:
    """Logistic regressions with a slight ridge, all at once by L-BFGS: weights and biases."""
    rates = labels.float().mean(0).clamp(1e-4, 1 - 1e-4)
    weight = torch.zeros(x.shape[1], labels.shape[1], requires_grad=True)
    bias = rates.logit().clone().requires_grad_(True)
    wanted = labels.float()
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe", history_size=10)

    def loss() -> Tensor:
        optimiser.zero_grad()
        cost = torch.nn.functional.binary_cross_entropy_with_logits(x @ weight + bias, wanted, reduction="none")
        total = cost.mean(0).sum() + RIDGE * weight.square().sum()
        total.backward()
        return total

    with torch.enable_grad():
        optimiser.step(loss)
    return weight.detach(), bias.detach()


def best_thresholds(
    scores: Float[Tensor, "token probed"], labels: Bool[Tensor, "token probed"]
) -> Float[Tensor, " probed"]:
    """The score from which on saying "fires" gives the largest F1."""
    ordered = scores.sort(0, descending=True)
    hits = labels.gather(0, ordered.indices).double().cumsum(0)
    said = torch.arange(1, len(scores) + 1, dtype=torch.float64)[:, None]
    f1 = 2 * hits / (said + labels.sum(0))
    return ordered.values.gather(0, f1.argmax(0, keepdim=True)).squeeze(0)
