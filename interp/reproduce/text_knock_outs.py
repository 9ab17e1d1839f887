"""Real text without some heads: the in-context score, and the tokens that continue a pair seen before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.heads.knocking_out import draw_heads
from interp.heads.token_losses import losses_at
from interp.hooks import sites
from interp.hooks.capturing import capture
from interp.hooks.head_names import Head, head_name
from interp.hooks.intervening import intervene
from interp.hooks.interventions import ablate
from interp.hooks.partial import embedding_device
from interp.models import identity
from interp.results import Axis, Plot, Result, Values, bootstrap_interval, interval_words, range_of_draws, range_words
from interp.runs import progress, provenance

SCORE = "in-context score"
CONTINUES = "tokens that continue an earlier pair"
GROUPS = ("these heads", "random heads")


class TextKnockOut(Result):
    """effect, low, high [measure, heads]: change of a loss when the heads write nothing, nats; for these heads the
    mean over texts with its 95 % interval, for random heads the mean over draws with the range of 95 % of them.

    intact [measure]: loss without a knock-out. draws [draw, measure]. per_prompt [example, measure]: of these heads.
    share: of tokens that continue an earlier pair.
    """

    kind: ClassVar[str] = "text_knock_out"


def continues_a_pair(tokens: Int[Tensor, " pos"]) -> Bool[Tensor, " pos"]:
    """True at every token that stands behind the same token as at an earlier place: B in A B ... A B."""
    pairs = torch.stack([tokens[:-1], tokens[1:]], dim=1)
    same = (pairs[:, None] == pairs[None]).all(-1).tril(-1).any(-1)
    return torch.cat([same.new_zeros(1), same])


def text_knock_out(
    model: Any,
    heads: Sequence[Head],
    texts: Int[Tensor, "text pos"],
    early: int,
    late: int,
    window: int,
    *,
    n_random: int = 6,
    exclude: Sequence[Head] = (),
    seed: int = 0,
) -> TextKnockOut:
    """Set `heads` to zero, then `n_random` draws of as many others of the same layers, and read the losses of `texts`.

    early, late, window: as in `heads.in_context_score`. exclude: heads that are never drawn. Texts in which no pair
    comes again do not count there. Raises InputError where too few heads are left to draw.
    """
    started = datetime.now()
    draws, matched = draw_heads(model, heads, list(exclude), n_random, seed)
    conditions = [list(heads), *draws]
    seen = [continues_a_pair(row) for row in texts.cpu()]
    rows = []
    with progress(len(texts) * len(conditions), "texts without some heads") as bar:
        for text, again in zip(texts.to(embedding_device(model)), seen):
            rows.append(_of_text(model, text[None], again, conditions, (early, late, window)))
            bar.advance(len(conditions))
    each = torch.stack(rows)  # [text, condition, measure], intact first
    names = (*(f"tokens {place} to {place + window - 1}" for place in (early, late)), SCORE, CONTINUES)
    return TextKnockOut(
        values=_values(each, names) | {"share": Values(torch.stack(seen).float().mean(), (), "share")},
        settings={
            "heads": [head_name(head) for head in heads],
            "value": "zero",
            "n": len(texts),
            "n_random": n_random,
            "draws": [[head_name(head) for head in draw] for draw in draws],
            "layers_matched": matched,
            "early": early,
            "late": late,
            "window": window,
        },
        provenance=provenance(model=identity(model), seed=seed, started=started),
        plots=(_plot(len(heads), len(texts), n_random),),
    )


@torch.no_grad()
def _of_text(
    model: Any,
    text: Int[Tensor, "1 pos"],
    again: Bool[Tensor, " pos"],
    conditions: Sequence[Sequence[Head]],
    places: tuple[int, int, int],
) -> Float[Tensor, "condition measure"]:
    """The measures of one text: intact, then with each set of heads at zero."""
    early, late, window = places
    windows = torch.zeros_like(again)
    windows[early : early + window] = windows[late : late + window] = True
    positions = (windows | again).nonzero()[:, 0]
    start = min(layer for heads in conditions for layer, _ in heads)
    residual = capture(model, text, [sites.resid_pre(start)])[sites.resid_pre(start)]
    found = [losses_at(model, text, positions, residual=residual, start=start)[0]]
    for heads in conditions:
        by_layer: dict[int, list[int]] = {}
        for layer, head in heads:
            by_layer.setdefault(layer, []).append(head)
        silent = [ablate(sites.z(layer), heads=of_layer, value="zero") for layer, of_layer in by_layer.items()]
        with intervene(model, silent):
            found.append(losses_at(model, text, positions, residual=residual, start=start)[0])
    losses = torch.stack(found)
    first = losses[:, (positions >= early) & (positions < early + window)].mean(1)
    second = losses[:, (positions >= late) & (positions < late + window)].mean(1)
    return torch.stack([first, second, second - first, losses[:, again[positions]].mean(1)], dim=1)


def _values(each: Float[Tensor, "text condition measure"], names: Sequence[str]) -> dict[str, Values]:
    effects = each[:, 1:] - each[:, :1]
    chosen, draws = effects[:, 0], effects[:, 1:].nanmean(0)  # a text without a pair that comes again has no say
    bounds = [_bounds(column[~column.isnan()]) for column in chosen.T]
    low, high = range_of_draws(draws)
    measure, groups = Axis("measure", tuple(names)), Axis("heads", GROUPS)

    def beside(of_chosen: Tensor, of_random: Tensor) -> Values:
        return Values(torch.stack([of_chosen, of_random], dim=-1), (measure, groups), "nats")

    return {
        "effect": beside(chosen.nanmean(0), draws.mean(0)),
        "low": beside(torch.stack([lower for lower, _ in bounds]), low),
        "high": beside(torch.stack([upper for _, upper in bounds]), high),
        "intact": Values(each[:, 0].nanmean(0), (measure,), "nats"),
        "draws": Values(draws, (Axis("draw", tuple(range(len(draws)))), measure), "nats"),
        "per_prompt": Values(chosen, (Axis("example", tuple(range(len(chosen)))), measure), "nats"),
    }


def _bounds(column: Float[Tensor, " text"]) -> tuple[Tensor, Tensor]:
    nothing = torch.tensor(float("nan"))
    return bootstrap_interval(column, 0) if len(column) else (nothing, nothing)


def _plot(n_heads: int, n: int, n_random: int) -> Plot:
    return Plot(
        "bars",
        "effect",
        x="measure",
        series="heads",
        title=f"Loss on text without {n_heads} heads",
        caption="Change of the loss when the heads write nothing. Whiskers: for these heads "
        f"{interval_words(n, 'texts')}; for random heads {range_words(n_random)}.",
        caveat="Other heads may take over, and much of what a context gives (topic, style, names) needs no repetition.",
        low="low",
        high="high",
        options={"y_label": "change of the loss (nats)"},
    )
