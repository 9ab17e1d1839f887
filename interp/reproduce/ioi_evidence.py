"""What was measured of every head, and conditions on it that a head meets or does not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.hooks.head_names import Head
from interp.results import Values

Mask = Bool[Tensor, "layer head"]


@dataclass(frozen=True, eq=False)
class Measured:
    """One number of every head: mean over n prompts and its 95 % interval; NaN where it was not measured.

    whole: for effects, the logit difference that they are a share of.
    """

    mean: Float[Tensor, "layer head"]
    low: Float[Tensor, "layer head"]
    high: Float[Tensor, "layer head"]
    n: int
    whole: float | None = None

    @classmethod
    def of(
        cls,
        values: Mapping[str, Values],
        names: tuple[str, str, str],
        n: int,
        *,
        whole: float | None = None,
        n_layers: int = 0,
        **labels: str,
    ) -> Measured:
        """From a result's values [layer, head] called `names` (mean, low, high), or narrowed to that by `labels`.

        Where layers are missing at the end (they send nothing), NaN up to n_layers.
        """

        def padded(name: str) -> Tensor:
            data = values[name].sel(**labels).data.float()
            return torch.nn.functional.pad(data, (0, 0, 0, max(0, n_layers - len(data))), value=float("nan"))

        mean, low, high = (padded(name) for name in names)
        return cls(mean, low, high, n, whole)

    @property
    def share(self) -> Float[Tensor, "layer head"]:
        """The mean as a share of `whole`; NaN where there is no difference to have a share of."""
        return self.mean / (self.whole if self.whole is not None and self.whole > 0 else float("nan"))

    def without(self, heads: tuple[Head, ...]) -> Measured:
        """The same with some heads counted as not measured."""
        out = self.mean.clone()
        for head in heads:
            out[head] = float("nan")
        gone = out.isnan()
        return replace(
            self, mean=out, low=self.low.masked_fill(gone, torch.nan), high=self.high.masked_fill(gone, torch.nan)
        )

    def told(self, head: Head) -> str:
        """A head's number with its interval: "+0.43 [+0.23, +0.65]"; attention and shares without signs."""
        mean, low, high = (float(part[head]) for part in (self.mean, self.low, self.high))
        return in_words(mean, low, high, signed=self.whole is not None)


Evidence = Mapping[str, Measured]


def in_words(mean: float, low: float, high: float, signed: bool) -> str:
    """A number with its interval, to two places: "+0.43 [+0.23, +0.65]" signed, "0.43 [0.23, 0.65]" else.

    The number alone where there is no interval (too few prompts for one).
    """
    form = "+.2f" if signed else ".2f"
    ends = "" if math.isnan(low) or math.isnan(high) else f" [{low:{form}}, {high:{form}}]"
    words = f"{mean:{form}}{ends}".replace("-", "−")
    return words if signed else words.replace("−0.00", "0.00")


@dataclass(frozen=True)
class Condition:
    """One measurable thing: `words` say it, `uses` names the evidence, `test` finds the heads of which it is true."""

    words: str
    uses: tuple[str, ...]
    test: Callable[[Evidence], Mask]

    def holds(self, evidence: Evidence) -> Mask:
        """The heads of which it is true; none where something it needs was not measured."""
        if any(name not in evidence for name in self.uses):
            return torch.zeros_like(next(iter(evidence.values())).mean, dtype=torch.bool)
        return self.test(evidence)


def counts(name: str, share: float, sign: int) -> Condition:
    """An effect has this sign, its interval excludes 0, and it is at least this share of the logit difference."""

    def test(seen: Evidence) -> Mask:
        measured = seen[name]
        beyond_zero = measured.low > 0 if sign > 0 else measured.high < 0
        return beyond_zero & (sign * measured.share >= share)

    side = "above" if sign > 0 else "below"
    return Condition(f"{name}: interval {side} 0, at least {100 * share:.0f} % of the logit difference", (name,), test)


def at_least(name: str, bound: float) -> Condition:
    """A mean reaches a bound."""
    return Condition(f"{name} at least {bound:g}", (name,), lambda seen: seen[name].mean >= bound)


def more(name: str, other: str) -> Condition:
    """One mean is larger than another."""
    return Condition(f"{name} more than {other}", (name, other), lambda seen: seen[name].mean > seen[other].mean)


def above_zero(name: str) -> Condition:
    """A whole interval lies above 0."""
    return Condition(f"{name}: interval above 0", (name,), lambda seen: seen[name].low > 0)


def mostly(part: str, whole: str, share: float, words: str) -> Condition:
    """One mean is at least a share of another, and its interval lies above 0."""
    return Condition(
        words, (part, whole), lambda seen: (seen[part].low > 0) & (seen[part].mean >= share * seen[whole].mean)
    )
