"""What no circuit can be found or judged with: tasks that are refused, each with a sentence that says why."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.models.identifying import tokenizer_sha256
from interp.models.toy import COMPILED, TOYS
from interp.tasks import PromptPairs


def check_task(model: Any, task: PromptPairs, *, gradients: bool) -> None:
    """Raise InputError for a task of one pair, of equal prompts, of another tokenizer or hand-built model, or (for
    methods that take gradients) with a metric that has none."""
    if gradients and not task.metric.differentiable:
        raise InputError(
            f"{task.metric.name} has no gradient; use task.with_metric('logit_difference'), on the "
            "command line --metric logit_difference"
        )
    if len(task) < 2:
        raise InputError(
            "the task has one pair of prompts, which says nothing about how much scores vary; give two or more"
        )
    if bool((task.divergence == task.lengths).all()) and task.aligned:
        raise InputError("clean and corrupt prompts are the same, so no edge can matter; choose another corruption")
    _check_tokens(model, task)


def check_numbers(
    values: Float[Tensor, "*some prompt"],
    what: str,
    *,
    first: int = 0,
    fix: str = "leave that prompt out or change the metric",
) -> None:
    """Raise InputError when a number is none for some prompt. first: the number of the first prompt."""
    bad = ~torch.isfinite(values)
    if bool(bad.any()):
        place = tuple(bad.nonzero()[0])
        raise InputError(f"{what} is {float(values[place])} for prompt {first + int(place[-1])}; {fix}")


def check_batch_size(batch_size: int | None) -> None:
    """Raise InputError for batches of no prompts."""
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size is how many prompts share a pass, at least 1, not {batch_size}")


def _check_tokens(model: Any, task: PromptPairs) -> None:
    largest, size = int(max(task.clean.max(), task.corrupt.max())), int(model.cfg.d_vocab)
    if largest >= size:
        raise InputError(
            f"the prompts hold token {largest} and this model knows {size}: they were made with another tokenizer"
        )
    own, theirs = getattr(model, "tokenizer", None), task.tokenizer
    toy, name = task.settings.get("toy"), str(model.cfg.model_name)
    if toy is not None and toy != name and (own is not None or name in (*TOYS, *COMPILED)):
        raise InputError(f"the prompts were made for {toy} and mean nothing to {name}; make the task with this model")
    if own is None or theirs is None or own is theirs:
        return
    if tokenizer_sha256(own) != tokenizer_sha256(theirs):
        raise InputError(
            "the prompts were made with another tokenizer than this model's; make the task with this model"
        )
