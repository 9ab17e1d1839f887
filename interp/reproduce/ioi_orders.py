"""Whether a head does the same in both orders of the names, or follows the place where a name stands.

In BABA prompts ("Then, John and Mary ... John gave") the indirect object is the second of the first two names, in ABBA
prompts the first. A head that knows which name came twice serves both; one that prefers the second name wherever it
stands serves one of them, and over both it looks like a weak name mover with a large variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import torch

from interp.hooks.head_names import Head, head_name
from interp.lens import Attribution
from interp.models import identity
from interp.reproduce.asking import joined
from interp.reproduce.ioi_words import told
from interp.results import FEWEST, Axis, Plot, Result, Values, mean_with_interval
from interp.runs import provenance
from interp.tasks import PromptPairs

ORDERS = ("BABA", "ABBA")
ONE_SIDED = 0.25
"""Of an effect in one order: with less than that in the other a head is called one-sided."""


class EffectsByOrder(Result):
    """effect, low, high [order, head]: direct effect on the logit difference, mean over the prompts of an order and its
    95 % interval.
    """

    kind: ClassVar[str] = "effects_by_order"

    @property
    def one_sided(self) -> list[str]:
        """The heads that do in one order what they do not do in the other: there the effect has the other sign, or less
        than a quarter of the size, the two intervals do not meet, and the larger one's excludes 0.
        """
        effect, low, high = (self.values[name].data for name in ("effect", "low", "high"))
        if len(effect) < 2:
            return []
        sure = (low > 0) | (high < 0)
        apart = (low > high.flip(0)) | (high < low.flip(0))
        lacking = (effect.sign() * effect.flip(0) < ONE_SIDED * effect.abs()) & sure & apart
        names = [str(name) for name in self.values["effect"].axis("head").labels]
        return [name for name, lacks in zip(names, lacking.any(0).tolist()) if lacks]

    def told(self) -> str:
        """Which of the heads serve one order only, with their numbers and the prompts of each order."""
        sizes = joined([f"{n} {order}" for order, n in self.settings["n"].items()])
        n_heads = len(self.values["effect"].axis("head").labels)
        if len(self.settings["n"]) < 2:
            return f"All prompts are of one order ({sizes}), so that the orders cannot be compared."
        if min(self.settings["n"].values()) < FEWEST:
            return f"{sizes} prompts are too few to tell whether a head serves one order of the names only."
        if not self.one_sided:
            return f"None of the {n_heads} largest heads writes in one order of the names only ({sizes} prompts)."
        names = ("effect", "low", "high")
        words = []
        for head in self.one_sided:
            both = [f"{told(self.values, names, signed=True, head=head, order=order)} in {order}" for order in ORDERS]
            words.append(f"{head} ({', '.join(both)})")
        return (
            f"{len(words)} of the {n_heads} largest heads write{'s' * (len(words) == 1)} in one order of the names "
            f"only, or nearly so: {joined(words)} ({sizes} prompts)."
        )


def effects_by_order(model: Any, task: PromptPairs, by_head: Attribution, heads: Sequence[Head]) -> EffectsByOrder:
    """The direct effects of some heads, apart for BABA and ABBA prompts. by_head: of the same task."""
    started = datetime.now()
    each = by_head.values["per_prompt"].data
    chosen = torch.stack([each[:, layer, head] for layer, head in heads], dim=1)  # [example, head]
    axis = Axis("head", tuple(map(head_name, heads)))
    rows = {order: [i for i, group in enumerate(task.groups) if group.startswith(order)] for order in ORDERS}
    orders = [order for order in ORDERS if rows[order]]
    means = []
    for order in orders:
        examples = Axis("example", tuple(rows[order]))
        means.append(mean_with_interval(Values(chosen[rows[order]], (examples, axis), "logits")))
    values = {
        name: Values(torch.stack([mean[part].data for mean in means]), (Axis("order", tuple(orders)), axis), "logits")
        for name, part in (("effect", "mean"), ("low", "low"), ("high", "high"))
    }
    counts = " and ".join(f"{len(rows[order])} {order}" for order in orders)
    return EffectsByOrder(
        values=values,
        settings={"n": {order: len(rows[order]) for order in orders}},
        provenance=provenance(model=identity(model), task=task.describe(), seed=task.seed, started=started),
        plots=(
            Plot(
                "bars",
                "effect",
                x="head",
                series="order",
                title="Direct effects by the order of the names",
                caption="The largest heads' direct effects, apart for prompts in which the indirect object is the "
                f"second name (BABA) and the first (ABBA); {counts} prompts.",
                caveat="A head that does this in one order only goes by the place of a name as well as by which name "
                "comes twice.",
                low="low",
                high="high",
                options={"y_label": "logits"},
            ),
        ),
    )
