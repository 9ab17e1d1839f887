"""One pass over the prompts that finds what every part of the model writes along the direction of a question."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.hooks import sites
from interp.hooks.capturing import Activations, capture
from interp.hooks.head_names import Head
from interp.hooks.readout import Readout
from interp.lens.decomposing import (
    Contributions,
    HeadContributions,
    component_sites,
    contributions,
    head_contributions,
    source_contributions,
)
from interp.lens.questions import Question

PASS_TOKENS = 4096
"""Tokens of one forward pass."""
PASS_BYTES = 2**28
"""Attention weights that a pass may keep."""


@dataclass(frozen=True, eq=False)
class Written:
    """What every part writes, over all prompts. heads: by layer, empty unless they were asked for.

    answers [batch, answer]: the tokens whose logit was attributed.
    """

    parts: Contributions
    heads: dict[int, HeadContributions]
    answers: Int[Tensor, "batch answer"]

    @property
    def total(self) -> Float[Tensor, " batch"]:
        """The logit difference of every prompt."""
        return self.parts.total

    @property
    def error(self) -> Float[Tensor, " batch"]:
        """What the parts miss of it."""
        return self.parts.error


def written(model: Any, question: Question, *, with_heads: bool, batch_size: int | None = None) -> Written:
    """Run the prompts once and attribute their logit differences; `with_heads` also within each layer's attention."""
    layers = range(int(model.cfg.n_layers)) if with_heads else range(0)
    wanted = [*component_sites(model), *(sites.z(layer) for layer in layers)]
    pieces = []
    for rows in _batches(question, batch_size or max(1, PASS_TOKENS // question.prompts.shape[1])):
        position = question.position[rows]
        acts = capture(model, _tokens(question, rows), wanted, position, readout=Readout(position[:, None], None))
        pieces.append(written_by(model, acts, question, rows, list(layers)))
    return _joined(pieces)


def written_by(model: Any, acts: Activations, question: Question, rows: slice, layers: list[int]) -> Written:
    """The same from activations at the question's position, with the logits there."""
    answers = question.answers
    if answers is None:
        assert acts.logits is not None
        answers = acts.logits.argmax(-1, keepdim=True).cpu()
    else:
        answers = answers[rows]
    distractors = None if question.distractors is None else question.distractors[rows]
    parts = contributions(model, acts, answers, distractors)
    heads = {layer: head_contributions(model, layer, acts, parts) for layer in layers}
    return Written(parts, heads, answers)


def written_from(
    model: Any, question: Question, found: Written, heads: list[Head], batch_size: int | None = None
) -> Float[Tensor, "batch chosen key"]:
    """A second pass: how much of the chosen heads' contributions comes from each token of the prompts."""
    layers = sorted({layer for layer, _ in heads})
    n_pos = question.prompts.shape[1]
    per_prompt = 4 * len(layers) * (int(model.cfg.n_heads) * n_pos**2)
    step = batch_size or max(1, min(PASS_TOKENS // n_pos, PASS_BYTES // per_prompt))
    wanted = [site(layer) for layer in layers for site in (sites.pattern, sites.v)]
    pieces = []
    for rows in _batches(question, step):
        acts = capture(model, _tokens(question, rows), wanted)
        index = question.position[rows]
        here = torch.arange(len(index))
        patterns = {layer: acts[sites.pattern(layer)][here, :, index] for layer in layers}
        of_heads = {layer: _rows(found.heads[layer], rows) for layer in layers}
        values = {layer: acts[sites.v(layer)] for layer in layers}
        piece = source_contributions(model, heads, of_heads, patterns, values)
        pieces.append(torch.nn.functional.pad(piece, (0, n_pos - piece.shape[-1])))
    return torch.cat(pieces)


def _batches(question: Question, step: int) -> Iterator[slice]:
    n = len(question.prompts)
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _tokens(question: Question, rows: slice) -> Tensor:
    """The rows up to the question's last position: later tokens change nothing before them."""
    return question.prompts.as_subclass(Tensor)[rows, : int(question.position[rows].max()) + 1]


def _rows(heads: HeadContributions, rows: slice) -> HeadContributions:
    return HeadContributions(heads.heads[rows], heads.bias[rows], heads.slope[rows])


def _joined(pieces: list[Written]) -> Written:
    if len(pieces) == 1:
        return pieces[0]
    parts = Contributions(
        *(torch.cat([getattr(piece.parts, name) for piece in pieces]) for name in Contributions.__dataclass_fields__)
    )
    heads = {
        layer: HeadContributions(
            *(
                torch.cat([getattr(piece.heads[layer], name) for piece in pieces])
                for name in HeadContributions.__dataclass_fields__
            )
        )
        for layer in pieces[0].heads
    }
    return Written(parts, heads, torch.cat([piece.answers for piece in pieces]))
