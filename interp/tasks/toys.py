"""The prompts that the hand-built models were built for."""

from __future__ import annotations

from typing import Any

from interp.errors import InputError
from interp.hooks.partial import embedding_device
from interp.models.toy import COMPILED, TOYS, toy_module
from interp.tasks.pairs import PromptPairs
from interp.tasks.token_tensors import from_tokens


def for_toy(model_or_name: Any, n: int = 16, seed: int = 0) -> PromptPairs:
    """The pairs of a hand-built model, given as the model or by name ("toy/induction"): n pairs, one length.

    What is known about them is `interp.models.toy.toy_module(name).TRUTH`. Raises InputError for any other model.
    """
    name = model_or_name if isinstance(model_or_name, str) else str(model_or_name.cfg.model_name)
    if not isinstance(model_or_name, str) and name not in (*TOYS, *COMPILED):
        raise InputError(f"{name!r} is no hand-built model; use ioi, induction, from_jsonl or from_tokens")
    if n < 1:
        raise InputError(f"a task needs at least one pair; n={n}")
    module, full = toy_module(name), name if name.startswith("toy/") else f"toy/{name}"
    clean, corrupt, answers, distractors = module.pairs(n, seed)
    if not isinstance(model_or_name, str):
        clean, corrupt = clean.to(embedding_device(model_or_name)), corrupt.to(embedding_device(model_or_name))
    return from_tokens(
        clean,
        corrupt,
        answers,
        distractors,
        # Only some toys have a BOS; those that do name it.
        prepend_bos=hasattr(module, "BOS"),
        name=full,
        seed=seed,
        settings={"corruption": "toy", "toy": full},
    )
