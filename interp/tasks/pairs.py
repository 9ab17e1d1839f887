"""A task: pairs of a clean and a corrupt prompt, the answers to tell apart, and the metric that does it.

Prompts are right-padded to one width, clean and corrupt alike; `clean.lengths` says where each ends, and no pad is
ever scored, patched or averaged. Positions are named ("IO", "S2", "end") because prompts of different wording have
the same role at different places; they index the token tensors, so they count a BOS when there is one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import InputError, unknown
from interp.hooks.prompts import PromptTokens, prompt_tokens, real_tokens
from interp.tasks import checks, showing
from interp.tasks.metric import Metric
from interp.tasks.metrics import METRICS


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PromptPairs:
    """Prompt pairs with answers.

    name: the task's name. clean, corrupt: token ids [batch, pos], right-padded, one width.
    answers, distractors: sets of token ids a pair, padded with -1 (most metrics need a distractor).
    prepend_bos: whether the tokens begin with a BOS. pad_id: what fills the rest of a row.
    metric: how a run is scored (default `logit_difference`, or `loss` when there are no distractors).
    seed, settings: what made the prompts, JSON-able; they go to a result's provenance through `describe()`.
    notes: sentences a reader of the results should know (names that were replaced, answers that were cut, ...).
    tokenizer: only for showing the prompts as text.

    Raises InputError when the parts do not fit together.
    """

    name: str
    clean: PromptTokens
    corrupt: PromptTokens
    answers: Int[Tensor, "batch answer"]
    distractors: Int[Tensor, "batch distractor"]
    prepend_bos: bool
    pad_id: int
    metric: Metric = None  # type: ignore[assignment]  # always a Metric after __post_init__
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    tokenizer: Any = None

    def __post_init__(self) -> None:
        checks.check_pairs(self.clean, self.corrupt, self.answers, self.distractors)
        if self.metric is None:
            has_distractors = bool((self.distractors >= 0).any(1).all())
            default = "logit_difference" if has_distractors else "loss"
            object.__setattr__(self, "metric", METRICS[default](self))

    @property
    def lengths(self) -> Int[Tensor, " batch"]:
        """Real tokens of each clean prompt, BOS included."""
        return self.clean.lengths

    @property
    def corrupt_lengths(self) -> Int[Tensor, " batch"]:
        """Real tokens of each corrupt prompt, BOS included."""
        return self.corrupt.lengths

    @property
    def positions(self) -> dict[str, Int[Tensor, " batch"]]:
        """Role -> index into the clean prompts; always has "end", the token at which the answer is predicted."""
        return self.clean.positions

    @property
    def corrupt_positions(self) -> dict[str, Int[Tensor, " batch"]]:
        """Role -> index into the corrupt prompts."""
        return self.corrupt.positions

    @property
    def roles(self) -> tuple[str, ...]:
        """The names of `positions`."""
        return tuple(self.positions)

    @property
    def groups(self) -> tuple[str, ...]:
        """The group of each pair, e.g. "BABA-3"; means over a reference set are taken within a group."""
        return self.clean.groups

    @property
    def equal_lengths(self) -> bool:
        """Whether all prompts, clean and corrupt, have one length: only then does a position mean the same in all."""
        return bool((torch.cat([self.lengths, self.corrupt_lengths]) == self.lengths[0]).all())

    @property
    def aligned(self) -> bool:
        """Whether clean and corrupt are equally long within every pair, so that position i faces position i."""
        return bool((self.lengths == self.corrupt_lengths).all())

    @property
    def divergence(self) -> Int[Tensor, " batch"]:
        """The first position at which clean and corrupt differ; the clean length where they do not differ at all.

        Everything before it has the same activations in both runs of a causal model.
        """
        differ = (self.clean != self.corrupt) | (real_tokens(self.clean) != real_tokens(self.corrupt))
        # argmax finds the first True; a pair without one gets its length.
        return torch.where(differ.any(1), differ.int().argmax(1), self.lengths)

    @property
    def corrupt_metric(self) -> Metric:
        """`metric` read at the corrupt prompts' positions; the same object when nothing moves."""
        role = self.metric.position
        shift = self.corrupt_positions[role] - self.positions[role]
        return self.metric.shifted(shift) if bool(shift.any()) else self.metric

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, rows: int | slice | Sequence[int] | Sequence[bool] | Tensor) -> PromptPairs:
        """Some of the pairs, in the order given: an index, a slice, a list of indices, or a mask over the pairs."""
        index = _row_indices(rows, len(self)).to(self.answers.device)
        return replace(
            self,
            clean=_rebuilt(self.clean, rows=index),
            corrupt=_rebuilt(self.corrupt, rows=index),
            answers=self.answers[index],
            distractors=self.distractors[index],
            metric=self.metric.rows(index),
        )

    def to(self, device: torch.device | str) -> PromptPairs:
        """The same pairs on another device, the metric too."""
        return replace(
            self,
            clean=_rebuilt(self.clean, device=device),
            corrupt=_rebuilt(self.corrupt, device=device),
            answers=self.answers.to(device),
            distractors=self.distractors.to(device),
            metric=self.metric.to(device),
        )

    def with_metric(self, metric: str | Metric, **options: Any) -> PromptPairs:
        """The same pairs scored by another metric: a `Metric` of theirs, or the name of one in `interp.tasks.metrics`.

        options go to the metric's function: `position="S2"`, and `model=` for "kl_to_clean".
        """
        if isinstance(metric, str):
            if metric not in METRICS:
                raise unknown("metric", metric, METRICS)
            if metric == "kl_to_clean" and "model" not in options:
                raise InputError("kl_to_clean compares with the clean run; use with_metric('kl_to_clean', model=model)")
            metric = METRICS[metric](task=self, **options)
        elif options:
            raise InputError("options are for a metric's name; a Metric object is used as it is")
        if len(metric.readout.positions) != len(self):
            raise InputError(f"the metric is of {len(metric.readout.positions)} pairs and the task has {len(self)}")
        if metric.position not in self.positions:
            raise unknown("position", metric.position, self.roles)
        return replace(self, metric=metric)

    def describe(self) -> dict[str, Any]:
        """What identifies the task, JSON-able, for a result's provenance; the hashes ignore the padding."""
        return {
            "name": self.name,
            "n": len(self),
            "seed": self.seed,
            "corruption": self.settings.get("corruption"),
            "prepend_bos": self.prepend_bos,
            "metric": self.metric.name,
            "roles": list(self.roles),
            "settings": dict(self.settings),
            "notes": list(self.notes),
            "sha256": {name: _sha256(getattr(self, name)) for name in ("clean", "corrupt", "answers", "distractors")},
        }

    def texts(self, tokenizer: Any = None) -> dict[str, list[str]]:
        """The prompts as text: {"clean": [...], "corrupt": [...]}, special tokens included, pads left out."""
        tokenizer = tokenizer or self.tokenizer
        if tokenizer is None:
            raise InputError("this task has no tokenizer; give one: task.texts(model.tokenizer)")
        sides = {"clean": self.clean, "corrupt": self.corrupt}
        return {
            side: [showing.decoded(tokenizer, row) for row in showing.unpadded(tokens)]
            for side, tokens in sides.items()
        }

    def token_strings(self, tokenizer: Any = None, *, corrupt: bool = False) -> list[list[str]]:
        """Each token of each clean (or corrupt) prompt as text, pads left out: labels for attention and text plots."""
        tokenizer = tokenizer or self.tokenizer
        rows = showing.unpadded(self.corrupt if corrupt else self.clean)
        return [[showing.decoded(tokenizer, [token]) if tokenizer else str(token) for token in row] for row in rows]

    def __repr__(self) -> str:
        return showing.as_text(self)

    def _repr_html_(self) -> str:
        return showing.as_html(self)


def _rebuilt(
    tokens: PromptTokens, *, rows: Tensor | None = None, device: torch.device | str | None = None
) -> PromptTokens:
    """Some rows of prompts, perhaps on another device, that still know their lengths, positions and groups."""
    rows = torch.arange(len(tokens), device=tokens.device) if rows is None else rows
    return prompt_tokens(
        tokens[rows].to(device or tokens.device),
        lengths=tokens.lengths[rows],
        positions={role: index[rows] for role, index in tokens.positions.items()},
        groups=[tokens.groups[row] for row in rows.tolist()],
    )


def _row_indices(rows: int | slice | Sequence[int] | Sequence[bool] | Tensor, n: int) -> Int[Tensor, " row"]:
    """Indices of the chosen rows, counted from 0."""
    if isinstance(rows, int):
        rows = [rows]
    index = torch.arange(n)[rows] if isinstance(rows, slice) else torch.as_tensor(rows)
    if index.dtype == torch.bool:
        if index.shape != (n,):
            raise InputError(f"a mask over the pairs needs one value a pair ({n}), not shape {tuple(index.shape)}")
        index = index.nonzero()[:, 0]
    if index.numel() == 0:
        raise InputError("no pair was selected; a task has at least one")
    if index.ndim != 1 or index.is_floating_point():
        raise InputError("select pairs by an index, a slice, a list of indices, or a mask")
    if bool(((index < -n) | (index >= n)).any()):
        # IndexError, and not ours, so that `for pair in task` ends.
        raise IndexError(f"this task has {n} pairs; {index.tolist()} is out of range")
    return index.long() % n


def _sha256(tensor: Tensor) -> str:
    """Hash of a token tensor; of prompts, the real tokens and their lengths only."""
    rows = showing.unpadded(tensor) if isinstance(tensor, PromptTokens) else tensor.tolist()
    return hashlib.sha256(repr(rows).encode()).hexdigest()
