"""Which heads of a model count as detected, by the stripe scores alone."""

from __future__ import annotations

from dataclasses import dataclass

from interp.heads import HeadScores
from interp.hooks.head_names import Head, head_name, largest_heads

THRESHOLD = 0.4
"""A head counts as detected from this score on: the field's convention, not a fact about models."""
NEAREST = 3
"""Heads that are asked about where none is detected."""
WORDS = {"previous": "previous-token", "duplicate": "duplicate-token", "induction": "induction"}


@dataclass(frozen=True)
class Detected:
    """Heads by kind ("previous", "duplicate", "induction"), highest score first.

    heads: those at or above the threshold. nearest: the few highest of each kind, whether detected or not.
    """

    heads: dict[str, tuple[Head, ...]]
    nearest: dict[str, tuple[Head, ...]]

    @classmethod
    def by_score(cls, scores: HeadScores) -> Detected:
        """From the mean scores over prompts."""
        heads, nearest = {}, {}
        for kind in WORDS:
            score = scores.values["score"].sel(kind=kind).data
            n_detected = int((score >= THRESHOLD).sum())
            heads[kind] = tuple(largest_heads(score, n_detected)) if n_detected else ()
            nearest[kind] = tuple(largest_heads(score, min(NEAREST, score.numel())))
        return cls(heads, nearest)

    def asked(self, kind: str, most: int | None = None) -> tuple[Head, ...]:
        """The detected heads of a kind (the `most` highest), or the nearest where there are none."""
        return (self.heads[kind] or self.nearest[kind])[:most]

    def every(self) -> list[Head]:
        """All detected heads of any kind, each once."""
        return sorted({head for heads in self.heads.values() for head in heads})

    def noun(self, kind: str) -> str:
        """ "induction head", or "candidate induction head" where none is detected."""
        return f"{'' if self.heads[kind] else 'candidate '}{WORDS[kind]} head"

    def shown(self, kind: str, most: int) -> list[tuple[Head, str]]:
        """The `most` highest heads of a kind with what to call them: detected ones, or else the single nearest."""
        if self.heads[kind]:
            return [(head, f"{WORDS[kind]} head {head_name(head)}") for head in self.heads[kind][:most]]
        nearest = self.nearest[kind][0]
        return [(nearest, f"highest {WORDS[kind]} score, head {head_name(nearest)}, below {THRESHOLD}")]

    def caution(self) -> str:
        """What to know in a model where no induction or previous-token head is detected; empty elsewhere."""
        missing = [kind for kind in ("previous", "induction") if not self.heads[kind]]
        return " ".join(
            f"No head reaches {THRESHOLD} as {WORDS[kind]} head; the questions below are asked of those that come "
            f"nearest, {', '.join(head_name(head) for head in self.nearest[kind])}, which need not be any."
            for kind in missing
        )
