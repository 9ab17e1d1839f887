"""The metrics: functions from a task to a `Metric`.

A is the pair's answer set and D its distractor set (token ids), l the logits and p their softmax at the read position,
which is the last token of the prompt (role "end") unless another role is named. Sets are usually single tokens.

    logit_difference        mean_A l - mean_D l                      logits        positive: prefers the answer
    answer_rank             number of tokens with l > max_A l        rank          0: the answer is on top
    probability_difference  sum_A p - sum_D p                        probability   -1 ... 1
    accuracy                1 if max_A l > max_D l, else 0           fraction      ties count as wrong
    kl_to_clean             sum_v p_clean log(p_clean / p)           nats          0: the clean distribution
    loss                    -log sum_A p                             nats          0: certain of the answer
    log_probability         sum over the tokens after `end` of log p nats          answers of several tokens
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError, unknown
from interp.hooks.prompts import real_tokens
from interp.hooks.readout import Readout
from interp.tasks import scores
from interp.tasks.metric import Metric


@runtime_checkable
class Answered(Protocol):
    """What a metric needs to know of a task; `PromptPairs` is one."""

    @property
    def clean(self) -> Tensor: ...
    @property
    def lengths(self) -> Tensor: ...
    @property
    def answers(self) -> Tensor: ...
    @property
    def distractors(self) -> Tensor: ...
    @property
    def positions(self) -> dict[str, Tensor]: ...


def logit_difference(task: Answered, *, position: str = "end") -> Metric:
    """Mean logit of the answers minus mean logit of the distractors, in logits (Wang et al. 2022, section 2).

    Positive: the model prefers the answer. Reads the columns of the answers and distractors only, never the whole
    vocabulary. Raises InputError when a pair has no distractor.
    """
    return _metric(task, position, "logit_difference", "logits", scores.SetDifference, needs_distractors=True)


def accuracy(task: Answered, *, position: str = "end") -> Metric:
    """1.0 where the best answer's logit beats the best distractor's, 0.0 elsewhere; ties are wrong.

    For single tokens this is the sign of the logit difference. Raises InputError when a pair has no distractor.
    """
    return _metric(task, position, "accuracy", "fraction", scores.Beats, needs_distractors=True, differentiable=False)


def answer_rank(task: Answered, *, position: str = "end") -> Metric:
    """How many tokens of the vocabulary have a higher logit than the best answer: 0 is the top, lower is cleaner."""
    return _metric(
        task,
        position,
        "answer_rank",
        "rank",
        scores.Rank,
        whole_vocabulary=True,
        differentiable=False,
        higher_is_clean=False,
    )


def probability_difference(task: Answered, *, position: str = "end") -> Metric:
    """Summed probability of the answers minus summed probability of the distractors, from -1 to 1."""
    return _metric(
        task,
        position,
        "probability_difference",
        "probability",
        scores.ProbabilityDifference,
        whole_vocabulary=True,
        needs_distractors=True,
    )


def loss(task: Answered, *, position: str = "end") -> Metric:
    """-log of the summed probability of the answers, in nats: lower is cleaner, 0 is certainty."""
    return _metric(task, position, "loss", "nats", scores.AnswerLoss, whole_vocabulary=True, higher_is_clean=False)


def kl_to_clean(model: Any, task: Answered, *, position: str = "end", batch_size: int = 16) -> Metric:
    """KL(p_clean || p) between the clean run's next-token distribution and a run's, in nats.

    0 on the clean run itself, and larger the further a run is from it, so lower is cleaner. Runs the model once on the
    clean prompts (`batch_size` at a time) and keeps their log-probabilities, [batch, vocab] floats.
    """
    from interp.hooks import partial  # here, since it brings in the model library, which tokens and scores do without

    positions = _position(task, position)[:, None]
    readout = Readout(positions, None)
    kept = []
    with torch.no_grad():
        for rows in torch.arange(len(positions)).split(batch_size):
            # Without the pads of longer prompts elsewhere in the task.
            width = int(task.lengths[rows].max())
            logits = partial.run(model, task.clean[rows, :width], readout=readout.rows(rows))
            kept.append(logits.float().log_softmax(-1))
    score = scores.KLDivergence(torch.cat(kept).to(positions.device))
    return Metric("kl_to_clean", "nats", readout, score, True, False, position)


def log_probability(task: Answered, *, position: str = "end") -> Metric:
    """Summed log-probability of the clean prompt's tokens after `position`, in nats: higher is cleaner, at most 0.

    For answers of several tokens that were appended to the prompt (teacher forcing; `from_jsonl(multi_token=
    "logprob")`). Raises InputError when a prompt ends at `position`.
    """
    start = _position(task, position)
    n_targets = task.lengths - 1 - start
    if bool((n_targets < 1).any()):
        raise InputError(
            f"log_probability scores the tokens after {position!r}, and some prompts end there; append the answers to "
            "the prompts (from_jsonl(multi_token='logprob')) or use 'loss'"
        )
    steps = torch.arange(int(n_targets.max()), device=start.device)
    real = steps < n_targets[:, None]
    positions = torch.where(real, start[:, None] + steps, start[:, None])
    targets = torch.where(real, task.clean.gather(1, positions + 1), -1)
    score = scores.SequenceLogProbability(targets)
    return Metric("log_probability", "nats", Readout(positions, None), score, True, True, position)


def token_losses(
    logits: Float[Tensor, "*runs batch pos vocab"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "*runs batch pos-1"]:
    """-log p of every next token, in nats; NaN where that token is a pad (when `tokens` are PromptTokens)."""
    targets = tokens[:, 1:].expand(*logits.shape[:-3], -1, -1)
    picked = logits[..., :-1, :].log_softmax(-1).gather(-1, targets[..., None]).squeeze(-1)
    return (-picked).masked_fill(~real_tokens(tokens)[:, 1:], float("nan"))


METRICS: dict[str, Callable[..., Metric]] = {
    "logit_difference": logit_difference,
    "answer_rank": answer_rank,
    "probability_difference": probability_difference,
    "accuracy": accuracy,
    "kl_to_clean": kl_to_clean,
    "loss": loss,
    "log_probability": log_probability,
}


def _metric(
    task: Answered,
    position: str,
    name: str,
    unit: str,
    score: type[scores.SetScore],
    *,
    whole_vocabulary: bool = False,
    needs_distractors: bool = False,
    differentiable: bool = True,
    higher_is_clean: bool = True,
) -> Metric:
    """A metric of the answer and distractor sets, read at one position."""
    if needs_distractors and not bool((task.distractors >= 0).any(1).all()):
        raise InputError(
            f"{name} compares answers with distractors, and some pairs have none; give each pair a distractor, or use "
            "'loss' or 'answer_rank'"
        )
    positions = _position(task, position)[:, None]
    columns = None if whole_vocabulary else torch.cat([task.answers, task.distractors], dim=1)
    made = score(task.answers, task.distractors)
    return Metric(name, unit, Readout(positions, columns), made, differentiable, higher_is_clean, position)


def _position(task: Answered, role: str) -> Int[Tensor, " batch"]:
    if role not in task.positions:
        raise unknown("position", role, task.positions)
    return task.positions[role]
