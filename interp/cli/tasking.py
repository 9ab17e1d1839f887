"""Choosing a task on the command line: one of the house's, or a file of one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from interp import tasks
from interp.errors import InputError, unknown
from interp.tasks import PromptPairs

PLAIN: dict[str, Callable[..., PromptPairs]] = {
    "induction": tasks.induction,
    "repeated-text": tasks.repeated_text,
    "greater-than": tasks.greater_than,
    "docstring": tasks.docstring,
    "gendered-pronoun": tasks.gendered_pronoun,
    "subject-verb-agreement": tasks.subject_verb_agreement,
    "capital-country": tasks.capital_country,
}
"""Tasks of which only n, seed and BOS are chosen here; their other options are for Python."""
NAMES = ("ioi", *PLAIN, "toy")


def make_task(model: Any, name: str, n: int, seed: int, *, corruption: str = "abc", bos: bool = False) -> PromptPairs:
    """The task of a name in `NAMES`, or from a .jsonl file with the keys clean, corrupt, answer, distractor."""
    if name.endswith(".jsonl"):
        return tasks.from_jsonl(model, Path(name), prepend_bos=bos)[: n or None]
    if name == "ioi":
        return tasks.ioi(model, n=n, seed=seed, corruption=corruption, prepend_bos=bos)
    if name in PLAIN:
        return PLAIN[name](model, n=n, seed=seed, prepend_bos=bos)
    if name == "toy":
        return tasks.for_toy(model, n=n, seed=seed)
    if Path(name).suffix:
        raise InputError(f"a task file ends in .jsonl, one object a line; {name!r} does not")
    raise unknown("task", name, [*NAMES, "FILE.jsonl"])
