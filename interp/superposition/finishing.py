"""Is a training over? Judged by solutions that can be written down: what loses more than these says little."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor

BEHIND = 1.05
"""How many times the loss of a known solution a trained one may have; losses on drawn inputs vary by 1 or 2 %."""
NEARLY = 0.02
"""Share of what constant outputs lose that a trained model may lose where a known solution loses nothing."""
BY_HAND = "a closed form (single features, opposite pairs or principal components)"
LINEAR = "the best linear model"


def behind(
    loss: Float[Tensor, "*setting"], known: Float[Tensor, "*setting"], constant: Float[Tensor, "*setting"]
) -> Bool[Tensor, "*setting"]:
    """Where the loss of a trained model is above that of a known solution. constant: what constant outputs lose."""
    return loss > (BEHIND * known).where(known > 0, NEARLY * constant)


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
