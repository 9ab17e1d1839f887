"""The tasks that come with the house, by name."""

from __future__ import annotations

import importlib
from typing import Any

from interp.errors import InputError, unknown
from interp.probing.labelled import LabelledTokens

DATASETS = {
    "pos": ("parts_of_speech", "parts_of_speech", "part of speech of words in English prose"),
    "entity": ("entities", "entity_types", "person, place or organisation"),
    "number": ("numbers_and_tenses", "grammatical_number", "singular or plural subject, at it and a few words later"),
    "tense": ("numbers_and_tenses", "verb_tense", "present or past verb, at it and a few words later"),
    "position": ("running_text", "token_positions", "where in the text a token stands"),
    "next_token": ("running_text", "next_tokens", "what kind of token comes next"),
    "truth": ("statements", "statement_truth", "true or false statements about capitals and numbers"),
}
"""Name of each task: its module, its function, and what is to be told apart."""


def dataset(model: Any, name: str, n: int = 2000, seed: int = 0, prepend_bos: bool = False) -> LabelledTokens:
    """About `n` examples of a task of the house; the same seed gives the same.

    Raises InputError, with the nearest names, for a task that does not exist, and what the task itself refuses.
    """
    if name not in DATASETS:
        raise unknown("probing task", name, DATASETS)
    if n < 2:
        raise InputError(f"n={n} examples are too few; use at least 2")
    module, function, _ = DATASETS[name]
    make = getattr(importlib.import_module(f"interp.probing.datasets.{module}"), function)
    return make(model, n, seed, prepend_bos)
