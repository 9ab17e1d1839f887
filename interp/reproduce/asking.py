"""Asking a model what it may not be able to answer: an experiment goes on, and its report says why it did not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from interp.errors import InputError
from interp.reproduce.experiment import Experiment
from interp.results import Result, Values
from interp.viz.theme import interval, number

R = TypeVar("R", bound=Result)


def ask(experiment: Experiment, name: str, compute: Callable[[], R], what: str = "") -> tuple[R | None, str]:
    """The step's result and "", or None and a sentence that says why this model has none.

    what: is measured, for the list of what is missing (default: the name of the step). Only an InputError counts as an
    answer of that kind (no tokenizer, a context too short, heads that cannot be read from the weights ...); whatever
    else goes wrong comes through.
    """
    try:
        return experiment.step(name, compute), ""
    except InputError as error:
        experiment.skip(f"{what or name.replace('-', ' ')}: {error}.")
        return None, f"Not measured here: {error}."


def with_interval(value: Values, low: Values, high: Values) -> str:
    """ "9.95 [9.55, 10.3]" of three numbers without axes, as the figures write them; "9.95" where no interval is."""
    return f"{number(float(value.data))} {interval(float(low.data), float(high.data))}".rstrip()


def side(low: Values, high: Values) -> int | None:
    """On which side of zero an interval lies: 1, -1, 0 where it holds zero, None where there is no interval."""
    ends = float(low.data), float(high.data)
    if ends[0] != ends[0]:
        return None
    return int(ends[0] > 0) - int(ends[1] < 0)


def joined(words: Sequence[str], end: str = "and") -> str:
    """ "a", "a and b", "a, b and c"."""
    return f"{', '.join(words[:-1])} {end} {words[-1]}" if len(words) > 1 else "".join(words)


def several(n: int, what: str) -> str:
    """ "1 head", "8 heads"."""
    return f"{n} {what}{'s' * (n != 1)}"
