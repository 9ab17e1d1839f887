"""What is measured of a model while it learns: its loss, what it gains from context, and where its heads look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.heads.reducing import reduce_patterns
from interp.heads.stripes import mean_attention, targets
from interp.heads.token_losses import losses_at
from interp.hooks.prompts import prompt_tokens
from interp.results import Axis, Plot, Result, Values, bootstrap_interval

KINDS = ("previous", "induction")
Label = str | int


@dataclass(frozen=True, eq=False)
class Examination:
    """One model at one moment, on prompts that repeat once.

    first, second [example]: mean loss of the tokens of either copy (nats), the first token of each left out. heads
    [example, kind, layer, head]: previous-token and prefix-matching scores.
    """

    first: Float[Tensor, " example"]
    second: Float[Tensor, " example"]
    heads: Float[Tensor, "example kind layer head"]


@torch.no_grad()
def examine(model: Any, tokens: Int[Tensor, "example pos"], n_bos: int = 0) -> Examination:
    """Losses and head scores on [BOS] + `length` tokens + the same again."""
    length = (tokens.shape[1] - n_bos) // 2
    first = torch.arange(1, length) + n_bos
    losses = losses_at(model, tokens, torch.cat([first, first + length]))
    wanted = [targets(prompt_tokens(tokens), kind) for kind in KINDS]

    def read(pattern: Tensor, layer: int, rows: slice) -> Tensor:
        return torch.stack([mean_attention(pattern, each[rows].to(pattern.device)) for each in wanted], dim=1)

    scores = reduce_patterns(model, tokens, read, range(int(model.cfg.n_layers)))
    first_copy, second_copy = (half.mean(1) for half in losses.chunk(2, dim=1))
    return Examination(first_copy, second_copy, torch.stack(list(scores.values()), dim=2))


class TrainingCurves(Result):
    """A model over its training, on fixed prompts of random tokens that repeat once.

    in_context, low, high [step]: loss of the second copy less that of the first, nats, with its 95 % interval over
    prompts: what is gained from context. loss [copy, step]. best, best_low, best_high [kind, step]: highest
    previous-token and prefix-matching score of any head, with the interval over prompts of that head's score. heads
    [kind, step, layer, head]: mean over prompts. per_prompt [example, step]: in_context.
    training_loss [step], where the model was trained here: mean since the step before.
    """

    kind: ClassVar[str] = "training_curves"


def curve_values(steps: Sequence[Label], seen: Sequence[Examination]) -> dict[str, Values]:
    """The values of `TrainingCurves`, but for the training loss."""
    step = Axis("step", tuple(steps))
    first, second = (torch.stack([getattr(moment, name) for moment in seen]) for name in ("first", "second"))
    heads = torch.stack([moment.heads.nanmean(0) for moment in seen], dim=1)  # [kind, step, layer, head]
    best = torch.stack([_best(moment.heads.flatten(2)) for moment in seen], dim=-1)  # [bound, kind, step]
    gained = (second - first).T  # [example, step]
    low, high = bootstrap_interval(gained, 0)
    kind = Axis("kind", KINDS)
    layer, head = (Axis(name, tuple(range(size))) for name, size in zip(("layer", "head"), heads.shape[2:]))
    return {
        "in_context": Values(gained.mean(0), (step,), "nats", "loss of the second copy less that of the first"),
        "low": Values(low, (step,), "nats"),
        "high": Values(high, (step,), "nats"),
        "loss": Values(torch.stack([first.mean(1), second.mean(1)]), (Axis("copy", (1, 2)), step), "nats"),
        "best": Values(best[0], (kind, step), "attention", "highest score of any head"),
        "best_low": Values(best[1], (kind, step), "attention"),
        "best_high": Values(best[2], (kind, step), "attention"),
        "heads": Values(heads, (kind, step, layer, head), "attention"),
        "per_prompt": Values(gained, (Axis("example", tuple(range(len(gained)))), step), "nats"),
    }


def _best(heads: Float[Tensor, "example kind head"]) -> Float[Tensor, "bound kind"]:
    """The highest mean score of any head, and the ends of its interval over prompts."""
    ends = []
    for of_kind in heads.unbind(1):
        column = of_kind[:, of_kind.nanmean(0).argmax()]
        column = column[~column.isnan()]  # a prompt in which nothing comes again has no say
        ends.append(torch.stack([column.mean(), *bootstrap_interval(column, 0)]))
    return torch.stack(ends, dim=1)


def curve_plots(title: str, caveat: str) -> tuple[Plot, Plot, Plot]:
    """What is gained from context, the loss of either copy, and the best heads, over training."""
    return (
        Plot(
            "lines",
            "in_context",
            x="step",
            title=f"In-context score over training: {title}",
            caption="Loss of the second copy less that of the first: below zero, the model uses what it has read.",
            caveat=caveat,
            low="low",
            high="high",
            options={"y_label": "nats"},
        ),
        Plot(
            "lines",
            "loss",
            x="step",
            series="copy",
            title=f"Loss over training: {title}",
            caption="Random tokens, then the same again; nothing but memory predicts the second copy.",
            caveat=caveat,
            options={"y_label": "loss (nats)"},
        ),
        Plot(
            "lines",
            "best",
            x="step",
            series="kind",
            title=f"Heads over training: {title}",
            caption="Highest previous-token and prefix-matching (induction) score of any head, with the 95 % "
            "interval of that head's score over prompts.",
            caveat=caveat,
            low="best_low",
            high="best_high",
            options={"y_label": "attention"},
        ),
    )
