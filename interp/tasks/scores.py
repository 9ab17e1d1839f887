"""The arithmetic of the metrics: readout values [..., batch, read] to one number a pair [..., batch].

Scores are small frozen objects and not closures, so that a task can be narrowed to some of its rows, moved to another
device and copied, and its metric with it. Token sets are padded with -1, which no score ever reads.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class PairScore:
    """A score whose fields are all tensors with one row a pair."""

    def __call__(self, values: Float[Tensor, "*runs batch read"]) -> Float[Tensor, "*runs batch"]:
        raise NotImplementedError

    def rows(self, index: Tensor | slice) -> PairScore:
        """The score of some of the pairs."""
        return type(self)(*(getattr(self, field.name)[index] for field in fields(self)))  # type: ignore[arg-type]

    def to(self, device: torch.device | str) -> PairScore:
        """The score on another device."""
        return type(self)(*(getattr(self, field.name).to(device) for field in fields(self)))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class SetScore(PairScore):
    """A score of two padded sets of token ids."""

    answers: Int[Tensor, "batch answer"]
    distractors: Int[Tensor, "batch distractor"]


class SetDifference(SetScore):
    """Mean over the answers' columns minus mean over the distractors'; columns are answers, then distractors."""

    def __call__(self, values: Float[Tensor, "*runs batch read"]) -> Float[Tensor, "*runs batch"]:
        answers, distractors = _split(self, values)
        return _masked_mean(answers, self.answers >= 0) - _masked_mean(distractors, self.distractors >= 0)


class Beats(SetScore):
    """1.0 where the best answer is above the best distractor; columns are answers, then distractors."""

    def __call__(self, values: Float[Tensor, "*runs batch read"]) -> Float[Tensor, "*runs batch"]:
        answers, distractors = _split(self, values)
        best = _masked_max(answers, self.answers >= 0)
        return (best > _masked_max(distractors, self.distractors >= 0)).to(values.dtype)


class Rank(SetScore):
    """How many of the whole vocabulary's values are above the best answer's."""

    def __call__(self, values: Float[Tensor, "*runs batch read"]) -> Float[Tensor, "*runs batch"]:
        best = _masked_max(_columns(values, self.answers), self.answers >= 0)
        return (values > best[..., None]).sum(-1).to(values.dtype)


class ProbabilityDifference(SetScore):
    """Softmax over the whole vocabulary, then the sum over the answers minus the sum over the distractors."""

    def __call__(self, values: Float[Tensor, "*runs batch read"]) -> Float[Tensor, "*runs batch"]:
        probabilities = values.softmax(-1)
        return _masked_sum(_columns(probabilities, self.answers), self.answers >= 0) - _masked_sum(
            _columns(probabilities, self.distractors), self.distractors >= 0
        )


class AnswerLoss(SetScore):
    """-log of the summed probability of the answers."""

    def __call__(self, values: Float[Tensor, "*runs batch read"]) -> Float[Tensor, "*runs batch"]:
        picked = _columns(values, self.answers).masked_fill(_off(self.answers >= 0, values), float("-inf"))
        return values.logsumexp(-1) - picked.logsumexp(-1)


@dataclass(frozen=True, eq=False)
class KLDivergence(PairScore):
    """KL from kept log-probabilities [batch, vocab] to the softmax of the values."""

    reference: Float[Tensor, "batch vocab"]

    def __call__(self, values: Float[Tensor, "*runs batch read"]) -> Float[Tensor, "*runs batch"]:
        reference = self.reference.to(values.device)
        # A token the clean run gives no probability adds nothing, even where the difference is infinite.
        gap = (reference - values.log_softmax(-1)).masked_fill(reference == float("-inf"), 0.0)
        return (reference.exp() * gap).sum(-1)


@dataclass(frozen=True, eq=False)
class SequenceLogProbability(PairScore):
    """Summed log-probability of target tokens, one read position each; -1 pads the shorter sequences."""

    targets: Int[Tensor, "batch target"]

    def __call__(self, values: Float[Tensor, "*runs batch read"]) -> Float[Tensor, "*runs batch"]:
        # [..., batch, target * vocab] -> [..., batch, target, vocab]
        logits = values.unflatten(-1, (self.targets.shape[1], -1))
        targets = self.targets.to(values.device)
        index = targets.clamp(min=0).expand(logits.shape[:-1])[..., None]
        return _masked_sum(logits.log_softmax(-1).gather(-1, index).squeeze(-1), targets >= 0)


def _split(sets: SetScore, values: Tensor) -> tuple[Tensor, Tensor]:
    n_answers = sets.answers.shape[1]
    return values[..., :n_answers], values[..., n_answers:]


def _columns(values: Tensor, tokens: Int[Tensor, "batch choice"]) -> Tensor:
    """The values of some tokens out of the whole vocabulary's; what stands for a -1 is arbitrary."""
    index = tokens.to(values.device).clamp(min=0).expand(*values.shape[:-2], -1, -1)
    return values.gather(-1, index)


def _off(mask: Bool[Tensor, "batch choice"], values: Tensor) -> Tensor:
    return ~mask.to(values.device)


def _masked_sum(values: Tensor, mask: Bool[Tensor, "batch choice"]) -> Tensor:
    return values.masked_fill(_off(mask, values), 0.0).sum(-1)


def _masked_mean(values: Tensor, mask: Bool[Tensor, "batch choice"]) -> Tensor:
    return _masked_sum(values, mask) / mask.sum(-1).to(values.device)


def _masked_max(values: Tensor, mask: Bool[Tensor, "batch choice"]) -> Tensor:
    return values.masked_fill(_off(mask, values), float("-inf")).amax(-1)
