"""`Experiment`: a published experiment at work, its run, its report and its headline numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import pandas as pd

from interp.results import Result, Values
from interp.runs import Run
from interp.viz import Report

R = TypeVar("R", bound=Result)


class Headline(NamedTuple):
    """One headline number: what, its value and 95 % interval, over how many of what, and its unit."""

    name: str
    value: float
    n: int
    interval: tuple[float, float]
    unit: str = ""
    of: str = "prompts"

    @property
    def sample(self) -> str:
        """ "16 prompts"."""
        return f"{self.n} {self.of}"


@dataclass
class Experiment:
    """One experiment: steps are kept in a run that survives interruption, and told in a report as they come.

    model: what is asked. run: where results are kept. report: the page being written. name: of the steps in the run.
    headline: the headline numbers, as `Headline` or the same in a tuple. skipped: sentences that say what the model
    could not be asked, and why. results: of the steps so far, by name.
    """

    model: Any
    run: Run
    report: Report
    name: str
    headline: list[tuple[Any, ...]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)

    def step(self, name: str, compute: Callable[[], R]) -> R:
        """A result of the run: loaded when an interrupted session finished it, else computed and stored."""
        result = self.results[name] = self.run.step(f"{self.name}-{name}", compute)
        return result  # type: ignore[return-value]

    def number(
        self, name: str, value: Values, low: Values, high: Values, n: int, unit: str = "", of: str = "prompts"
    ) -> None:
        """Put a number without axes into the table of headline numbers, with its 95 % interval over n of `of`.

        unit: where the value's own is not the one to show. of: what n counts, in the plural.
        """
        ends = (float(low.data), float(high.data))
        self.headline.append(Headline(name, float(value.data), n, ends, unit or value.unit, of))

    def skip(self, sentence: str) -> None:
        """Note what this model could not be asked: the report lists it, and the command prints it."""
        if sentence not in self.skipped:
            self.skipped.append(sentence)
            self.report.omitted(sentence)

    def numbers(self) -> list[Headline]:
        """The headline numbers."""
        return [Headline(*row) for row in self.headline]

    def table(self) -> pd.DataFrame:
        """The headline numbers as a frame: what, value, low, high, unit, n, of (what n counts)."""
        rows = []
        for one in self.numbers():
            low, high = one.interval
            row = {"what": one.name, "value": one.value, "low": low, "high": high, "unit": one.unit}
            rows.append(row | {"n": one.n, "of": one.of})
        return pd.DataFrame(rows)
