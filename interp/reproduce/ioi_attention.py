"""Attention from one named token of the IOI prompts to another, beside the same places of prompts without a repetition.

In an ABC prompt the three names differ. A head that looks from S2 to S1 as much there as in the clean prompt looks at
names, or at a distance; one that stops doing so was looking at the repetition.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interp.heads.reducing import reduce_patterns
from interp.hooks.prompts import PromptTokens
from interp.models import identity
from interp.reproduce.ioi_evidence import Measured
from interp.reproduce.ioi_roles import BEYOND
from interp.results import Axis, Plot, Result, Values, mean_with_interval
from interp.runs import provenance
from interp.tasks import PromptPairs

PAIRS = {
    "end to IO": ("end", ("IO",)),
    "end to S": ("end", ("S1", "S2")),
    "end to S2": ("end", ("S2",)),
    "end to end": ("end", ("end",)),
    "S2 to S1": ("S2", ("S1",)),
    "S2 to S1+1": ("S2", ("S1+1",)),
    "S1+1 to S1": ("S1+1", ("S1",)),
}
"""From which token to which; attention to several is summed."""


class RoleAttention(Result):
    """attention, low, high [pair, layer, head]: on the clean prompts, mean and 95 % interval. abc [pair, layer, head]:
    at the same places of the corrupt prompts. beyond, beyond_low, beyond_high: the paired difference, clean less
    corrupt.
    per_prompt [example, side, pair, layer, head].
    """

    kind: ClassVar[str] = "role_attention"

    def evidence(self) -> dict[str, Measured]:
        """What the rules ask for: attention of every pair, and what of it is not there in the corrupt prompts."""
        n = len(self.values["per_prompt"].axis("example"))
        found = {}
        for pair in PAIRS:
            for name, keys in ((pair, _ATTENTION), (pair + BEYOND, _BEYOND)):
                found[name] = Measured.of(self.values, keys, n, pair=pair)
        return found


_ATTENTION, _BEYOND = ("attention", "low", "high"), ("beyond", "beyond_low", "beyond_high")


def role_attention(model: Any, task: PromptPairs) -> RoleAttention:
    """Attention between named tokens, of every head, on the clean and the corrupt prompts of an IOI task."""
    started = datetime.now()
    sides = torch.stack([_read(model, tokens) for tokens in (task.clean, task.corrupt)], dim=1)
    n_layers, n_heads = sides.shape[-2:]
    heads = (Axis("layer", tuple(range(n_layers))), Axis("head", tuple(range(n_heads))))
    examples, pairs = Axis("example", tuple(range(len(task)))), Axis("pair", tuple(PAIRS))
    clean, corrupt = (Values(side, (examples, pairs, *heads), "attention") for side in sides.unbind(1))
    means, others = mean_with_interval(clean), mean_with_interval(corrupt)
    beyond = mean_with_interval(Values(clean.data - corrupt.data, clean.axes, "attention"))
    values = {"attention": means["mean"], "low": means["low"], "high": means["high"], "abc": others["mean"]}
    values |= dict(zip(_BEYOND, (beyond[name] for name in ("mean", "low", "high"))))
    side = Axis("side", ("clean", "corrupt"))
    values["per_prompt"] = Values(sides, (examples, side, pairs, *heads), "attention")
    return RoleAttention(
        values=values,
        settings={"n": len(task), "pairs": {name: [query, *keys] for name, (query, keys) in PAIRS.items()}},
        provenance=provenance(model=identity(model), task=task.describe(), seed=task.seed, started=started),
        plots=(_plot(len(task)),),
    )


def _read(model: Any, tokens: PromptTokens) -> Float[Tensor, "example pair layer head"]:
    at = {role: index.cpu() for role, index in tokens.positions.items()}

    def read(pattern: Tensor, layer: int, rows: slice) -> Float[Tensor, "row pair head"]:
        row = torch.arange(len(pattern), device=pattern.device)
        taken = []
        for query, keys in PAIRS.values():
            taken.append(sum(pattern[row, :, at[query][rows].to(row), at[key][rows].to(row)] for key in keys))
        return torch.stack(taken, dim=1)  # type: ignore[arg-type]

    found = reduce_patterns(model, tokens, read, range(int(model.cfg.n_layers)))
    return torch.stack(list(found.values()), dim=2)


def _plot(n: int) -> Plot:
    return Plot(
        "heatmap",
        "attention",
        x="head",
        y="layer",
        series="pair",
        title="Attention between the named tokens",
        caption=f"Mean attention of every head from one named token to another ({n} clean prompts).",
        caveat="Where a head looks says nothing of whether it matters.",
        low="low",
        high="high",
        options={"colour_range": [0, 1], "colour_label": "attention"},
    )
