"""Backup name movers: heads that write the answer once the positive name writers no longer do.

Wang et al. 2022, section 3.4, where the positive name writers are the name movers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interp import lens
from interp.errors import InputError
from interp.hooks import sites
from interp.hooks.capturing import capture
from interp.hooks.head_names import Head, HeadLike, as_heads, head_name
from interp.hooks.intervening import intervene
from interp.hooks.interventions import Intervention, ablate
from interp.lens import Attribution
from interp.models import identity
from interp.reproduce.ioi_evidence import Measured
from interp.reproduce.ioi_roles import AFTER, RISE
from interp.results import Axis, Plot, Result, Values, mean_with_interval
from interp.runs import provenance
from interp.tasks import PromptPairs

PASS_TOKENS = 4096
"""Tokens of one forward pass."""


class BackupHeads(Result):
    """rise, low, high [layer, head]: by how much a head's direct effect grows, in logits, beyond what the final norm's
    new scale does to it; mean of the paired differences and its 95 % interval. before, after (with _low and _high)
    [layer, head]: the direct effect with and without the ablated heads. total, total_low, total_high [when]: the logit
    difference. factor (with _low and _high), factor_per_prompt [example]: by how much the final norm's new scale alone
    multiplies every contribution. per_prompt [example, when, layer, head].
    """

    kind: ClassVar[str] = "backup_heads"

    @property
    def ablated(self) -> tuple[Head, ...]:
        """The heads that were knocked out."""
        return tuple((int(layer), int(head)) for layer, head in self.settings["ablated"])

    def evidence(self, whole: float) -> dict[str, Measured]:
        """What the rules ask for; `whole`: the logit difference of which a rise is a share."""
        n = len(self.values["per_prompt"].axis("example"))
        rise = Measured.of(self.values, ("rise", "low", "high"), n, whole=whole)
        after = Measured.of(self.values, ("after", "after_low", "after_high"), n, whole=whole)
        return {RISE: rise.without(self.ablated), AFTER: after.without(self.ablated)}


@torch.no_grad()
def backup_heads(
    model: Any, task: PromptPairs, ablated: Sequence[HeadLike], before: Attribution | None = None
) -> BackupHeads:
    """How the direct effect of every head on the logit difference changes when some heads are ablated.

    ablated: their output at the end of the prompt is set to its mean over the corrupt prompts (ABC: other names).
    before: the direct attribution by head of the intact model on the same task, where there is one already.

    With the ablated heads gone the last residual stream is smaller, and the final norm makes up for it: everything
    that is left counts more, without doing more. That factor is read off the heads before the first ablated layer,
    whose output at the end has not changed, and taken out of the rise.
    """
    started = datetime.now()
    heads = sorted(as_heads(model, ablated))
    if not task.aligned:
        raise InputError("clean and corrupt prompts differ in length; use pairs of equal length, as tasks.ioi makes")
    intact = before if before is not None else lens.direct_attribution(model, task, by="head")
    was = intact.values["per_prompt"].data
    now, total = _without(model, task, heads)
    factor = scale_factor(was, now, first_changed=heads[0][0])
    return BackupHeads(
        values=_values(was, now, factor, torch.stack([intact.values["total_per_prompt"].data, total], dim=1)),
        settings={"ablated": [list(head) for head in heads], "value": "mean at the end over the corrupt prompts"},
        provenance=provenance(model=identity(model), task=task.describe(), seed=task.seed, started=started),
        plots=(_plot(heads, len(task)),),
    )


def _without(
    model: Any, task: PromptPairs, heads: Sequence[Head]
) -> tuple[Float[Tensor, "example layer head"], Float[Tensor, " example"]]:
    """Every head's contribution at the end, and the logit difference, with some heads ablated."""
    step = max(1, PASS_TOKENS // task.clean.shape[1])
    parts = [task[start : start + step] for start in range(0, len(task), step)]
    knocked = list(_knocked_out(model, task, heads, step))
    found = []
    for part in parts:  # a pass at a time: positions by name are those of the prompts that run
        with intervene(model, knocked, task=part):
            found.append(lens.direct_attribution(model, part, by="head", batch_size=len(part)))
    names = ("per_prompt", "total_per_prompt")
    contributions, totals = (torch.cat([one.values[name].data for one in found]) for name in names)
    return contributions, totals


def _knocked_out(model: Any, task: PromptPairs, heads: Sequence[Head], batch_size: int) -> list[Intervention]:
    by_layer = {layer: [head for _, head in group] for layer, group in groupby(heads, key=lambda head: head[0])}
    wanted = [sites.z(layer) for layer in by_layer]
    position = task.metric.position
    other = capture(model, task.corrupt, wanted, position, batch_size=batch_size)
    means = {site: other[site].mean(0, keepdim=True) for site in wanted}  # [1, head, d_head]
    return [
        ablate(sites.z(layer), heads=of_layer, positions=position, value="mean", reference=means[sites.z(layer)])
        for layer, of_layer in by_layer.items()
    ]


def scale_factor(
    before: Float[Tensor, "example layer head"], after: Float[Tensor, "example layer head"], first_changed: int
) -> Float[Tensor, " example"]:
    """What the final norm's scale multiplies contributions by: after over before of the heads that did not change.

    1 where no head comes before the first changed layer, or none of those writes anything.
    """
    same_before, same_after = (each[:, :first_changed].flatten(1) for each in (before, after))
    size = same_before.square().sum(1)
    return torch.where(size > 0, (same_before * same_after).sum(1) / size.clamp(min=1e-30), torch.ones_like(size))


def _values(was: Tensor, now: Tensor, factor: Tensor, totals: Tensor) -> dict[str, Values]:
    examples = Axis("example", tuple(range(len(was))))
    axes = (Axis("layer", tuple(range(was.shape[1]))), Axis("head", tuple(range(was.shape[2]))))
    when = Axis("when", ("before", "after"))
    values: dict[str, Values] = {}
    paired = now - factor[:, None, None] * was
    for name, each, prefix in (("rise", paired, ""), ("before", was, "before_"), ("after", now, "after_")):
        means = mean_with_interval(Values(each, (examples, *axes), "logits"))
        values |= {name: means["mean"], f"{prefix}low": means["low"], f"{prefix}high": means["high"]}
    for name, each, over in (("total", totals, (examples, when)), ("factor", factor, (examples,))):
        means = mean_with_interval(Values(each, over, "logits" if name == "total" else ""))
        values |= {name: means["mean"], f"{name}_low": means["low"], f"{name}_high": means["high"]}
    return values | {
        "factor_per_prompt": Values(factor, (examples,), ""),
        "per_prompt": Values(torch.stack([was, now], dim=1), (examples, when, *axes), "logits"),
    }


def _plot(heads: Sequence[Head], n: int) -> Plot:
    return Plot(
        "heatmap",
        "rise",
        x="head",
        y="layer",
        title="Change of the direct effects without the positive name writers",
        caption="How every head's direct effect on the logit difference changes when "
        f"{', '.join(map(head_name, heads))} are ablated (mean over ABC prompts at the end; {n} prompts). The ablated "
        "heads lose what they wrote.",
        caveat="Later heads change also because they read what the ablated ones wrote; a rise alone does not say that "
        "a head is there as a backup.",
        low="low",
        high="high",
        options={"zero_centred": True, "colour_label": "change (logits)"},
    )
