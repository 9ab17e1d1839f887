"""What no circuit can be found or judged with: tasks that are refused, each with a sentence that says why."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from interp.errors import InputError
from interp.models.identifying import tokenizer_sha256
from interp.tasks import PromptPairs


def check_task(model: Any, task: PromptPairs, *, gradients: bool) -> None:
    """Raise InputError for a task of one pair, of equal prompts, of another tokenizer, or (for methods that take
    gradients) with a metric that has none."""
    if gradients and not task.metric.differentiable:
        raise InputError(f"{task.metric.name} has no gradient; use task.with_metric('logit_difference')")
    if len(task) < 2:
        raise InputError(
            "the task has one pair of prompts, which says nothing about how much scores vary; give two or more"
        )
    if bool((task.divergence == task.lengths).all()) and task.aligned:
        raise InputError("clean and corrupt prompts are the same, so no edge can matter; choose another corruption")
    _check_tokens(model, task)


def check_numbers(values: Tensor, what: str) -> None:
    """Raise InputError when a metric is not a number for some prompt."""
    bad = ~torch.isfinite(values)
    if bool(bad.any()):
        row = int(bad.flatten().nonzero()[0])
        raise InputError(
            f"{what} is {float(values.flatten()[row])} for prompt {row}; leave that prompt out or change the metric"
        )


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
    if own is None or theirs is None or own is theirs:
        return
    if tokenizer_sha256(own) != tokenizer_sha256(theirs):
        raise InputError(
            "the prompts were made with another tokenizer than this model's; make the task with this model"
        )
