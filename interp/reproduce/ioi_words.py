"""Sentences out of numbers, in the same words in every section of the IOI report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from interp.hooks.head_names import Head, head_name
from interp.reproduce.ioi_evidence import Measured, in_words
from interp.results import FEWEST, Result, Values
from interp.viz import Report

FEW = 8
"""Prompts from which on an interval is given without a remark. A 95 % bootstrap interval of a mean holds it in 79 to
84 % of cases with 5 prompts, 85 to 89 % with 8 and 90 to 92 % with 16 (1500 simulated means each of exponential and of
normal numbers); under 5 (`results.FEWEST`) none is given at all."""
Names = tuple[str, str, str]
"""Names of the values that hold a mean and the two ends of its interval."""


def few(n: int, of: str = "prompts") -> str:
    """What to know of an interval over so few; empty from `FEW` on."""
    if n < FEWEST:
        counted = f"1 {of.removesuffix('s')} is" if n == 1 else f"{n} {of} are"
        return f"{counted} too few for an interval, so none is given."
    if n < FEW:
        return f"Do not trust an interval over {n} {of}: about one in five of that kind misses the mean."
    return ""


def told(values: Mapping[str, Values], names: Names, *, signed: bool = False, **at: Any) -> str:
    """ "+2.08 [+1.96, +2.21]" of the values so called, narrowed to `at`; the mean alone where there is no interval."""
    mean, low, high = (float(values[name].sel(**at).data) for name in names)
    return in_words(mean, low, high, signed)


def percent(share: Any, digits: int = 0) -> str:
    """ "86 %"; says so where there is nothing to have a share of."""
    if math.isnan(share):
        return "undefined (the whole is near zero)"
    return f"{100 * float(share):.{digits}f}\N{NO-BREAK SPACE}%".replace("-", "\N{MINUS SIGN}")


def percents(low: Any, high: Any, digits: int = 0) -> str:
    """ "[81, 93]" in percent; empty where there is no interval."""
    if math.isnan(low) or math.isnan(high):
        return ""
    ends = ", ".join(f"{100 * float(end):.{digits}f}" for end in (low, high))
    return f"[{ends}]".replace("-", "\N{MINUS SIGN}")


def percent_with(values: Mapping[str, Values], names: Names, digits: int = 0, **at: Any) -> str:
    """ "86 % [81, 93]"."""
    share, low, high = (float(values[name].sel(**at).data) for name in names)
    return f"{percent(share, digits)} {percents(low, high, digits)}".strip()


def names_of(heads: Sequence[Head]) -> str:
    """ "23.0, 23.2"."""
    return ", ".join(map(head_name, heads))


def listed(heads: Sequence[Head], seen: Measured, most: int = 6) -> str:
    """Heads with their numbers, as words: "23.3 (+3.05 [+2.62, +3.46]), 29.1 (...)"."""
    words = ", ".join(f"{head_name(head)} ({seen.told(head)})" for head in heads[:most])
    return words + (f" and {len(heads) - most} more" if len(heads) > most else "")


def standing_out(seen: Measured, least: float) -> tuple[list[Head], list[Head]]:
    """The heads above and below zero, with an interval that excludes it and of at least this size; largest first."""
    sides = []
    for sign, beyond in ((+1, seen.low > 0), (-1, seen.high < 0)):
        found = [(int(layer), int(head)) for layer, head in (beyond & (sign * seen.mean >= least)).nonzero()]
        sides.append(sorted(found, key=lambda head: -abs(float(seen.mean[head]))))
    return sides[0], sides[1]


def largest(seen: Measured, sign: int) -> Head:
    """The head with the largest mean (sign +1) or the smallest (-1), whatever its interval."""
    flat = int((sign * seen.mean).nan_to_num(nan=-math.inf).argmax())
    return flat // seen.mean.shape[1], flat % seen.mean.shape[1]


def show(
    report: Report,
    found: Result,
    captions: Sequence[str],
    n: int,
    *,
    title: str = "",
    caveat: str = "",
    plots: Sequence[int] = (),
) -> None:
    """The plots of a result with these captions, and what to know of their n; without bounds where n is too small.

    title, caveat: in place of the plots' own. plots: which of them (default: the first, one for every caption).
    """
    for index, caption in zip(plots or range(len(captions)), captions, strict=True):
        plot = found.plots[index]
        words = " ".join(part for part in (caveat or plot.caveat, few(n)) if part)
        if n < FEWEST:
            plot = replace(plot, low=None, high=None)
        plot = replace(plot, title=title or plot.title)
        report.add(found, caption=caption, caveat=words, plot=plot)
