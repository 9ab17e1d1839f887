"""Is a training over? Judged by solutions that can be written down: what loses more than these says little."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor

from interp.superposition import closed_forms

BEHIND = 1.05
"""How many times the loss of a known solution a trained one may have: most losses on drawn inputs have standard errors
of 1 or 2 %."""
NEARLY = 0.02
"""Share of what constant outputs lose that a trained model may lose where a known solution loses nothing."""
AT_THE_END = 1.01
"""How many times the least loss a model may have whose loss is exact and which had only to be trained to its end."""
BY_HAND = "a closed form (single features, opposite pairs or principal components)"
LINEAR = "the best linear model"


def behind(
    loss: Float[Tensor, "*setting"], known: Float[Tensor, "*setting"], constant: Float[Tensor, "*setting"]
) -> Bool[Tensor, "*setting"]:
    """Where the loss of a trained model is above that of a known solution. constant: what constant outputs lose."""
    return loss > (BEHIND * known).where(known > 0, NEARLY * constant)


def behind_by_hand(
    loss: Float[Tensor, "setting seed"],
    importance: Float[Tensor, "setting feature"],
    density: Float[Tensor, " setting"],
    n_hidden: int,
    together: str = "independent",
    group_size: int = 2,
) -> Bool[Tensor, " setting"]:
    """The same for the best of each setting's ReLU output models, beside what can be written down for them."""
    known = closed_forms.best_by_hand(importance, density, n_hidden, together, group_size)
    return behind(loss.amin(1), known, importance.sum(-1) * closed_forms.variance(density))


def at(behind: Bool[Tensor, " setting"], symbol: str, labels: Sequence[object]) -> str:
    """Which settings are behind, as "at S = 0.9, 0.97"; nothing where none is."""
    named = ", ".join(str(label) for label, one in zip(labels, behind.tolist(), strict=True) if one)
    return f"at {symbol} = {named}" if named else ""


def among(behind: Bool[Tensor, "*setting"], noun: str) -> str:
    """How many settings are behind, as "in 12 of 15 cells"; nothing where none is."""
    n = int(behind.sum())
    return f"in {n} of {behind.numel()} {noun}" if n else ""


def unfinished(where: str, known: str = BY_HAND) -> str:
    """A sentence, with a space before it, for the settings that are behind the known solution; nothing for none."""
    if not where:
        return ""
    return (
        f" Not trained to the end: {where} the least loss is above that of {known}, so what is found there says "
        "little; give more steps (--n-steps) or, where training is stuck, more starts (--n-seeds)."
    )


def linear_models(
    loss: Float[Tensor, "setting seed"],
    optimum: Float[Tensor, " setting"],
    kept: Bool[Tensor, "setting seed feature"],
    importance: Float[Tensor, "setting feature"],
    n_hidden: int,
) -> str:
    """What became of linear models, whose losses are exact: a sentence or two. kept: which features are represented."""
    n = loss.numel()
    ordered = importance.sort(-1, descending=True).values
    told = []
    if n_hidden < importance.shape[-1] and bool((ordered[:, n_hidden - 1] > ordered[:, n_hidden]).all()):
        most = (importance >= ordered[:, n_hidden - 1 : n_hidden])[:, None]
        right = int((kept == most).all(-1).sum())
        words = f"the {n_hidden} most important features" if n_hidden > 1 else "the most important feature"
        told.append(f"Of {n} linear models {right} keep {words} and no others.")
    if bool((optimum > 0).all()):
        ratio = loss / optimum[:, None]
        short = int((ratio > AT_THE_END).sum())
        told.append(
            f"Their losses are {float(ratio.min()):.4f} to {float(ratio.max()):.4f} times those of principal components"
            + (f"; {short} of {n} are above {AT_THE_END} and not trained to the end." if short else ".")
        )
    return " ".join(told)
