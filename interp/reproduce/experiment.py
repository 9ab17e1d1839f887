"""`Experiment`: a published experiment at work, its run, its report and its headline numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pandas as pd

from interp.results import Result, Values
from interp.runs import Run
from interp.viz import Report

R = TypeVar("R", bound=Result)


@dataclass
class Experiment:
    """One experiment: steps are kept in a run that survives interruption, and told in a report as they come.

    model: what is asked. run: where results are kept. report: the page being written. name: of the steps in the run.
    headline: rows (name, value, n, interval, unit) for the table of headline numbers.
    """

    model: Any
    run: Run
    report: Report
    name: str
    headline: list[tuple[str, float, int, tuple[float, float], str]] = field(default_factory=list)

    def step(self, name: str, compute: Callable[[], R]) -> R:
        """A result of the run: loaded when an interrupted session finished it, else computed and stored."""
        return self.run.step(f"{self.name}-{name}", compute)  # type: ignore[return-value]

    def number(self, name: str, value: Values, low: Values, high: Values, n: int, unit: str = "") -> None:
        """Put a number without axes into the table of headline numbers, with its 95 % interval over n prompts.

        unit: where the value's own is not the one to show.
        """
        self.headline.append((name, float(value.data), n, (float(low.data), float(high.data)), unit or value.unit))

    def table(self) -> pd.DataFrame:
        """The headline numbers as a frame: what, value, low, high, unit, n."""
        rows = []
        for name, value, n, (low, high), unit in self.headline:
            rows.append({"what": name, "value": value, "low": low, "high": high, "unit": unit, "n": n})
        return pd.DataFrame(rows)
