"""Stripe scores: how much of a head's attention lies where a previous-token, duplicate-token or induction head looks.

    previous     at a token, the attention to the token before it, mean over all tokens but the first
    duplicate    at a token that occurred before, the attention to its earlier occurrences, mean over such tokens
    induction    at a token that occurred before, the attention to what followed its earlier occurrences

On random tokens repeated once, each is one diagonal of the pattern: offsets -1, -L and 1 - L for copies of length L.
Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Olsson et al. 2022, "In-context Learning and
Induction Heads", who measure `previous` on natural text (give `tokens`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.errors import InputError, unknown
from interp.heads.attention import kept_patterns
from interp.heads.reducing import Reduce, reduce_patterns
from interp.hooks.head_names import Head, largest_heads
from interp.hooks.prompts import PromptTokens, prompt_tokens, real_tokens
from interp.models import identity
from interp.results import Axis, Plot, Result, Values, mean_with_interval
from interp.runs import provenance
from interp.tasks.prompting import Prompts, as_prompts, described, has_bos
from interp.tasks.repetition import repeated_random_tokens

KINDS = ("previous", "duplicate", "induction")
Pattern = Float[Tensor, "batch head query key"]


class HeadScores(Result):
    """Scores of all heads, between 0 and 1.

    score, low, high [kind, layer, head]: mean over prompts and its 95 % interval. per_prompt [example, kind, layer,
    head]. control, control_low, control_high [kind, layer, head]: the same diagonals on as many prompts of random
    tokens that do not repeat; what is left there is attention to a distance and not to a repetition (absent where
    prompts were given). pattern [head, query, key]: of
    the best heads on the first prompt, when asked for.
    """

    kind: ClassVar[str] = "head_scores"

    def top_heads(self, kind: str = "induction", n: int = 5) -> list[Head]:
        """The n heads with the highest score of a kind, as (layer, head), highest first."""
        return largest_heads(self.values["score"].sel(kind=kind).data, n)


def scores(
    model: Any,
    tokens: Prompts | None = None,
    *,
    kinds: Sequence[str] = KINDS,
    n: int = 8,
    length: int = 50,
    seed: int = 0,
    prepend_bos: bool = False,
    batch_size: int | None = None,
    keep_patterns: int = 0,
) -> HeadScores:
    """Previous-token, duplicate-token and induction score of every head (definitions: top of the file).

    Without `tokens`: on `n` prompts of `length` random tokens repeated once (after a BOS where `prepend_bos`),
    from the second copy's tokens, together with a control on prompts that do not repeat. With `tokens` (texts, token
    ids or a task): over all tokens that have an earlier occurrence; prompts in which nothing repeats do not count.
    keep_patterns: also keep the patterns of that many best heads of each kind, on the first prompt.
    batch_size: prompts a pass (default: as memory allows, one layer's patterns at a time).

    Raises InputError for an unknown kind, prompts of one token, or prompts in which no token repeats.
    """
    started = datetime.now()
    kinds = _checked_kinds(kinds)
    layers = range(int(model.cfg.n_layers))
    bos = prepend_bos if tokens is None else has_bos(tokens, prepend_bos)
    settings: dict[str, Any] = {"kinds": list(kinds), "prepend_bos": bos, "keep_patterns": keep_patterns}
    if tokens is None:
        prompts = repeated_random_tokens(model, n, length, seed, prepend_bos)
        unrepeated = _unrepeated(model, prompts, length, seed)
        read = _diagonals(kinds, length, int(prepend_bos))
        both = torch.cat([prompts.as_subclass(Tensor), unrepeated])
        found = _by_layer(reduce_patterns(model, both, read, layers, batch_size))
        each, control = found[: len(prompts)], found[len(prompts) :]
        settings |= {"prompts": "repeated random tokens", "n": n, "length": length, "n_repeats": 2}
    else:
        prompts, control = as_prompts(model, tokens, prepend_bos=prepend_bos, shortest=2), None
        each = _by_layer(reduce_patterns(model, prompts, _matches(kinds, prompts), layers, batch_size))
        settings |= {"prompts": "given", "n": len(prompts)}
    asked = described(tokens) if tokens is not None else {"seed": seed}
    values = score_values(each, kinds, control)
    patterns, texts = _best_patterns(model, prompts, values["score"], keep_patterns)
    return HeadScores(
        values=values | patterns,
        settings=settings,
        provenance=provenance(model=identity(model), started=started, **asked),
        plots=_plots(kinds, bool(patterns)),
        texts=texts,
    )


def _diagonals(kinds: Sequence[str], length: int, n_bos: int) -> Reduce:
    """Reads [batch, kind, head] off patterns of [BOS] r_1 ... r_L r_1 ... r_L."""

    def stripe(pattern: Pattern, kind: str) -> Float[Tensor, "batch head"]:
        if kind == "previous":
            return pattern.diagonal(-1, -2, -1).mean(-1)
        offset = -length if kind == "duplicate" else 1 - length
        # The diagonal begins at query -offset; the second copy begins at n_bos + length.
        return pattern.diagonal(offset, -2, -1)[..., n_bos + length + offset :].mean(-1)

    return lambda pattern, layer, rows: torch.stack([stripe(pattern, kind) for kind in kinds], dim=1)


def _matches(kinds: Sequence[str], prompts: PromptTokens) -> Reduce:
    """Reads [batch, kind, head] off the patterns of any prompts; NaN for a prompt without a query of that kind."""

    def read(pattern: Pattern, layer: int, rows: slice) -> Tensor:
        wanted = {kind: targets(prompts, kind)[rows].to(pattern.device) for kind in kinds}
        return torch.stack([mean_attention(pattern, wanted[kind]) for kind in kinds], dim=1)

    return read


def targets(prompts: Int[Tensor, "batch pos"], kind: str) -> Bool[Tensor, "batch query key"]:
    """Where a head of a kind looks: True for the keys of every query, the queries' pads left out."""
    plain = prompts.as_subclass(Tensor)
    query = torch.arange(plain.shape[1], device=plain.device)[:, None]
    key = query.T
    same = plain[:, :, None] == plain[:, None, :]  # [batch, query, key]
    if kind == "previous":
        wanted = (key == query - 1).expand_as(same)
    elif kind == "duplicate":
        wanted = same & (key < query)
    else:
        # The key follows an earlier occurrence of the query's token; its own place is no memory of it.
        followed = torch.nn.functional.pad(same, (1, 0))[:, :, :-1]
        wanted = followed & (key < query)
    return wanted & real_tokens(prompts)[:, :, None]


def mean_attention(pattern: Pattern, wanted: Bool[Tensor, "batch query key"]) -> Float[Tensor, "batch head"]:
    """Attention to the wanted keys, summed over keys, mean over the queries that have any; NaN where none has."""
    summed = (pattern * wanted[:, None]).sum((-2, -1))
    return summed / wanted.any(-1).sum(-1)[:, None]


def _unrepeated(model: Any, prompts: PromptTokens, length: int, seed: int) -> Int[Tensor, "batch pos"]:
    """The same prompts with the second copy redrawn."""
    other = repeated_random_tokens(model, len(prompts), length, seed + 1_000_003)
    return torch.cat([prompts.as_subclass(Tensor)[:, :-length], other[:, :length]], dim=1)


def _by_layer(found: dict[int, Tensor]) -> Float[Tensor, "batch kind layer head"]:
    return torch.stack(list(found.values()), dim=2)


def score_values(
    each: Float[Tensor, "batch kind layer head"],
    kinds: Sequence[str],
    control: Float[Tensor, "batch kind layer head"] | None = None,
) -> dict[str, Values]:
    """The values of a `HeadScores`: means with intervals, every prompt's scores, and the control's."""
    counted = ~each[:, :, 0, 0].isnan()
    for kind, any_prompt in zip(kinds, counted.any(0).tolist()):
        if not any_prompt:
            raise InputError(f"no token of these prompts occurs twice, so there is no {kind} score; repeat something")
    axes = _axes(kinds, each.shape[2], each.shape[3])
    # Prompts without a repetition have no say in a kind's mean, and the others keep theirs.
    parts = [
        mean_with_interval(
            Values(each[kept, i], (Axis("example", tuple(range(int(kept.sum())))), *axes[1:]), "attention")
        )
        for i, kept in enumerate(counted.T)
    ]
    values = {
        name: Values(torch.stack([part[key].data for part in parts]), axes, "attention")
        for name, key in (("score", "mean"), ("low", "low"), ("high", "high"))
    }
    values["per_prompt"] = Values(each, (Axis("example", tuple(range(len(each)))), *axes), "attention")
    if control is not None:
        without = mean_with_interval(Values(control, values["per_prompt"].axes, "attention"))
        for name, key in (("control", "mean"), ("control_low", "low"), ("control_high", "high")):
            values[name] = Values(without[key].data, axes, "attention", "random tokens without repetition")
    return values


def _axes(kinds: Sequence[str], n_layers: int, n_heads: int) -> tuple[Axis, Axis, Axis]:
    return Axis("kind", tuple(kinds)), Axis("layer", tuple(range(n_layers))), Axis("head", tuple(range(n_heads)))


def _best_patterns(
    model: Any, prompts: PromptTokens, score: Values, n: int
) -> tuple[dict[str, Values], dict[str, list[list[str]]]]:
    """The patterns of the n best heads of each kind on the first prompt, and its tokens."""
    if n < 1:
        return {}, {}
    best = [head for kind in score.axis("kind").labels for head in largest_heads(score.sel(kind=kind).data, n)]
    first = prompt_tokens(prompts[:1, : int(prompts.lengths[0])])
    pattern, tokens = kept_patterns(model, first, list(dict.fromkeys(best)))
    return {"pattern": pattern.sel(example=0)}, {"tokens": tokens}


def _plots(kinds: Sequence[str], with_patterns: bool) -> tuple[Plot, ...]:
    maps = Plot(
        "heatmap",
        "score",
        x="head",
        y="layer",
        series="kind",
        title="Attention head scores" + (f": {kinds[0]}" if len(kinds) == 1 else ""),
        caption="Share of each head's attention that lies where a head of that kind looks, mean over prompts.",
        caveat="A score says where a head looks, not what it does with what it finds there.",
        low="low",
        high="high",
        options={"colour_range": [0, 1], "colour_label": "attention"},
    )
    if not with_patterns:
        return (maps,)
    views = Plot(
        "attention",
        "pattern",
        title="Patterns of the best heads",
        caption="Attention of the highest-scoring heads of each kind on the first prompt.",
    )
    return maps, views


def _checked_kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    chosen = (kinds,) if isinstance(kinds, str) else tuple(dict.fromkeys(kinds))
    for kind in chosen:
        if kind not in KINDS:
            raise unknown("kind of head", kind, KINDS)
    if not chosen:
        raise InputError(f"no kinds were given; choose from {', '.join(KINDS)}")
    return chosen
