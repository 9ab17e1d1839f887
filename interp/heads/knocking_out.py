"""Knocking heads out: what becomes of the loss when some heads fall silent, against random heads of the same layers.

Three ways (the first and the last: Olsson et al. 2022, "In-context Learning and Induction Heads", appendix):

    zero                 the heads write nothing; everything after them is computed anew
    mean                 they write their mean over the tokens of these prompts, attention sinks and first tokens aside
    pattern-preserving   they write nothing, while all heads keep the attention of the whole model: later heads lose
                         what these wrote as content, but not as a place to look

A number alone says little: silencing any eight heads hurts. So the same number of heads of the same layers is drawn at
random, many times, from those that are not in question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError, unknown
from interp.heads.in_context import MEASURES, check_positions, measures_of, window_positions
from interp.heads.token_losses import losses_at
from interp.hooks import sites
from interp.hooks.capturing import Activations, capture
from interp.hooks.head_names import Head, HeadLike, as_heads, head_name
from interp.hooks.intervening import intervene
from interp.hooks.interventions import Intervention, ablate, freeze
from interp.hooks.partial import embedding_device
from interp.models import identity
from interp.results import Axis, Plot, Result, Values, bootstrap_interval, interval_words, range_of_draws, range_words
from interp.runs import progress, provenance
from interp.tasks.prompting import Prompts, as_prompts, has_bos
from interp.tasks.repetition import repeated_random_tokens

WAYS = ("zero", "mean", "pattern-preserving")
CONDITIONS = ("chosen", "random")
REPEATED_MEASURES = ("first copy", "second copy", "saved by repetition")
PASS_TOKENS = 4096
PATTERN_BYTES = 2**28
"""Frozen patterns that exist at a time."""


class KnockOut(Result):
    """effect, low, high [measure, condition]: change of a loss when the heads are knocked out, in nats. For "chosen":
    mean over prompts and its 95 % interval. For "random": mean over draws and the range that holds 95 % of them.

    intact [measure]: without any knock-out. draws [draw, measure]: every random draw's effect. exceeded [measure]:
    share of draws with an effect at least as large. per_prompt [example, measure, condition].
    """

    kind: ClassVar[str] = "knock_out"


def knock_out(
    model: Any,
    heads: Sequence[HeadLike],
    prompts: Prompts | None = None,
    *,
    value: str = "zero",
    n_random: int = 20,
    exclude: Sequence[HeadLike] = (),
    n: int = 16,
    length: int = 50,
    early: int = 50,
    late: int = 500,
    window: int = 1,
    seed: int = 0,
    prepend_bos: bool = False,
    batch_size: int | None = None,
) -> KnockOut:
    """Knock out `heads`, and `n_random` draws of as many others, and measure the loss.

    Without prompts: on `n` prompts of `length` random tokens, repeated; measures: loss of either copy (its first token
    left out) and the difference, second less first. With prompts (texts, token ids or a task): loss at `early` and
    `late` and the in-context score (see `in_context_score`, also for `window`). value: "zero", "mean" or
    "pattern-preserving", see the top of the file. exclude: heads that are never drawn, such as all detected ones. Draws
    take as many heads of each layer as `heads` does; where a layer has too few left, the rest come from any layer, and
    `settings["layers_matched"]` is false. Raises InputError for a head that does not exist, when too few are left to
    draw, and for prompts that are too short.
    """
    started = datetime.now()
    if value not in WAYS:
        raise unknown("way to knock out heads", value, WAYS)
    chosen = as_heads(model, heads)
    draws, matched = draw_heads(model, chosen, as_heads(model, exclude) if exclude else [], n_random, seed)
    measured = _Measured.repeated(model, n, length, seed, prepend_bos) if prompts is None else None
    measured = measured or _Measured.given(model, prompts, early, late, window, prepend_bos)  # type: ignore[arg-type]
    each = _run(model, measured, [chosen, *draws], value, batch_size)  # [condition, example, measure], intact first
    settings = {
        "heads": [head_name(head) for head in chosen],
        "value": value,
        "n_random": n_random,
        "draws": [[head_name(head) for head in draw] for draw in draws],
        "layers_matched": matched,
        "excluded": [head_name(head) for head in as_heads(model, exclude)] if exclude else [],
        "prepend_bos": prepend_bos if prompts is None else has_bos(prompts, prepend_bos),
        **measured.settings,
    }
    describe = getattr(prompts, "describe", None)
    return KnockOut(
        values=_values(each, measured.names),
        settings=settings,
        provenance=provenance(model=identity(model), task=describe() if describe else None, seed=seed, started=started),
        plots=(_plot(value, len(chosen), int(settings["n"]), n_random),),
    )


def draw_heads(
    model: Any, chosen: Sequence[Head], excluded: Sequence[Head], n_random: int, seed: int
) -> tuple[list[list[Head]], bool]:
    """`n_random` draws of as many heads, by layer where possible, and whether it always was."""
    if n_random < 1:
        raise InputError(f"n_random={n_random} leaves nothing to compare with; draw at least once")
    out = {*chosen, *excluded}
    layers = range(int(model.cfg.n_layers))
    left = [(layer, head) for layer in layers for head in range(int(model.cfg.n_heads)) if (layer, head) not in out]
    if len(left) < len(chosen):
        raise InputError(
            f"{len(chosen)} random heads are to be drawn and only {len(left)} are neither chosen nor excluded; choose "
            "or exclude fewer"
        )
    generator = torch.Generator().manual_seed(seed)

    def some(of: list[Head], count: int) -> list[Head]:
        return [of[i] for i in torch.randperm(len(of), generator=generator)[:count].tolist()]

    draws, matched = [], True
    for _ in range(n_random):
        draw: list[Head] = []
        for layer, count in Counter(layer for layer, _ in chosen).items():
            draw += some([head for head in left if head[0] == layer], count)
        missing = len(chosen) - len(draw)
        matched &= missing == 0
        draws.append(sorted(draw + some([head for head in left if head not in draw], missing)))
    return draws, matched


class _Measured:
    """Which losses of which prompts are read, and what is made of them.

    tokens: [example, pos]. positions: whose losses are read. names: of the measures, the last the difference of the
    two before it, whose losses are the two halves of the positions.
    """

    def __init__(self, tokens: Tensor, positions: Tensor, names: tuple[str, ...], settings: dict[str, Any]) -> None:
        self.tokens, self.positions, self.names, self.settings = tokens, positions, names, settings

    @classmethod
    def repeated(cls, model: Any, n: int, length: int, seed: int, prepend_bos: bool) -> _Measured:
        tokens = repeated_random_tokens(model, n, length, seed, prepend_bos)
        # Without the first token of either copy: nothing announces it.
        first = torch.arange(1, length) + int(prepend_bos)
        settings = {"prompts": "repeated random tokens", "n": n, "length": length}
        return cls(tokens.as_subclass(Tensor), torch.cat([first, first + length]), REPEATED_MEASURES, settings)

    @classmethod
    def given(cls, model: Any, prompts: Prompts, early: int, late: int, window: int, prepend_bos: bool) -> _Measured:
        n_tokens = check_positions(model, early, late, window)
        tokens = as_prompts(model, prompts, prepend_bos=prepend_bos, shortest=n_tokens)
        plain = tokens.as_subclass(Tensor)[:, :n_tokens]
        settings = {"prompts": "given", "n": len(plain), "early": early, "late": late, "window": window}
        names = (f"loss at token {early}", f"loss at token {late}", "in-context score")
        assert len(names) == len(MEASURES)
        return cls(plain, window_positions(early, late, window), names, settings)


@torch.no_grad()
def _run(
    model: Any, measured: _Measured, knocked: Sequence[Sequence[Head]], value: str, batch_size: int | None
) -> Float[Tensor, "condition example measure"]:
    """The measures of the intact model, then of each knock-out."""
    tokens = measured.tokens.to(embedding_device(model))
    start = min(layer for heads in knocked for layer, _ in heads)
    means = _mean_outputs(model, tokens, knocked) if value == "mean" else None
    rows = tokens.split(batch_size or _rows_a_pass(model, tokens.shape[1], start, value))
    pieces = []
    with progress(len(rows) * len(knocked), "knocking out heads") as bar:
        for part in rows:
            frozen = range(start, int(model.cfg.n_layers)) if value == "pattern-preserving" else range(0)
            acts = capture(model, part, [sites.resid_pre(start), *(sites.pattern(layer) for layer in frozen)])
            residual = acts[sites.resid_pre(start)]
            held = [item for layer in frozen for item in freeze(sites.pattern(layer), acts)]
            found = [losses_at(model, part, measured.positions, residual=residual, start=start)]
            for heads in knocked:
                with intervene(model, held, list(_silenced(heads, means))):
                    found.append(losses_at(model, part, measured.positions, residual=residual, start=start))
                bar.advance()
            pieces.append(torch.stack([measures_of(losses) for losses in found]))
    return torch.cat(pieces, dim=1)


def _silenced(heads: Sequence[Head], means: Activations | None) -> Iterator[Intervention]:
    by_layer: dict[int, list[int]] = {}
    for layer, head in heads:
        by_layer.setdefault(layer, []).append(head)
    for layer, of_layer in by_layer.items():
        value: Any = "zero" if means is None else "mean"
        yield ablate(sites.z(layer), heads=of_layer, value=value, reference=means)


def _mean_outputs(model: Any, tokens: Int[Tensor, "example pos"], knocked: Sequence[Sequence[Head]]) -> Activations:
    """What the heads of the layers in question mix on all prompts, which the mean is taken of."""
    layers = sorted({layer for heads in knocked for layer, _ in heads})
    step = max(1, PASS_TOKENS // tokens.shape[1])
    return capture(model, tokens, [sites.z(layer) for layer in layers], batch_size=step)


def _rows_a_pass(model: Any, n_pos: int, start: int, value: str) -> int:
    by_tokens = PASS_TOKENS // n_pos
    if value != "pattern-preserving":
        return max(1, by_tokens)
    frozen = 4 * int(model.cfg.n_heads) * n_pos**2 * (int(model.cfg.n_layers) - start)
    return max(1, min(by_tokens, PATTERN_BYTES // frozen))


def _values(each: Float[Tensor, "condition example measure"], names: tuple[str, ...]) -> dict[str, Values]:
    intact, effects = each[0], each[1:] - each[:1]
    chosen, random = effects[0], effects[1:]
    draws = random.mean(1)  # [draw, measure]
    low, high = bootstrap_interval(chosen, 0)
    range_low, range_high = range_of_draws(draws)
    examples, measure = Axis("example", tuple(range(len(chosen)))), Axis("measure", names)
    axes = (measure, Axis("condition", CONDITIONS))

    def beside(of_chosen: Tensor, of_random: Tensor, what: str = "") -> Values:
        return Values(torch.stack([of_chosen, of_random], dim=-1), axes, "nats", what)

    size = chosen.mean(0)
    return {
        "effect": beside(size, draws.mean(0), "change of the loss when the heads are knocked out"),
        "low": beside(low, range_low),
        "high": beside(high, range_high),
        "intact": Values(intact.mean(0), (measure,), "nats", "without a knock-out"),
        "draws": Values(draws, (Axis("draw", tuple(range(len(draws)))), measure), "nats"),
        "exceeded": Values((draws >= size).float().mean(0), (measure,), "share", "draws with at least the same effect"),
        "per_prompt": Values(torch.stack([chosen, random.mean(0)], dim=-1), (examples, *axes), "nats"),
    }


def _plot(value: str, n_heads: int, n: int, n_random: int) -> Plot:
    return Plot(
        "bars",
        "effect",
        x="measure",
        series="condition",
        title=f"Knocking out {n_heads} heads ({value})",
        caption=f"Change of the loss; random: {n_random} draws of as many other heads. "
        f"Whiskers: {interval_words(n, 'prompts')}; random: {range_words(n_random)}.",
        caveat="Other heads may take over what these do, so the loss understates what they contribute.",
        low="low",
        high="high",
        options={"y_label": "change of the loss (nats)"},
    )
