"""How scores of edges are drawn: as a matrix of writers and readers, or, of a few edges, as a graph."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from interp.circuits.ablation import AblationTuple, data_name
from interp.results import Plot, Values
from interp.tasks import PromptPairs

MANY, COLOURED = 1000, 0.99
"""From so many edges on, colours end at this quantile of their sizes."""


def plot_of(
    task: PromptPairs,
    method: str,
    at: str,
    scores: Values,
    *,
    effects: bool,
    some: bool,
    ablation: AblationTuple | None = None,
) -> Plot:
    """The scores as a matrix; of some edges only, which a matrix would hide, as a graph.

    effects: whether scores estimate effects in the metric's unit. at: the run that edges are changed in. ablation: what
    effects depend on besides the edge.
    """
    if not effects:
        caption = f"Each edge's score by {method}: {scores.description}. Prompts: {data_name(task)}."
        caveat = "No effect: how large a score is says nothing about how much the metric depends on the edge."
        label = "score"
    else:
        changed = "made corrupt in the clean run" if at == "clean" else "made clean in the corrupt run"
        if ablation is not None and ablation.value != "counterfactual":
            changed = f"ablated ({ablation.value}) in the clean run"
        caption = (
            f"What the {task.metric.name} ({task.metric.unit}) owes to each edge, by {method}: the edge {changed}, "
            f"mean over {data_name(task)}."
        )
        caption += f" Ablation: {ablation}." if ablation is not None else ""
        caveat = "One edge at a time: edges that stand in for each other go unseen."
        if method != "exact":
            caveat = (
                "An estimate, one edge at a time: edges that stand in for each other, and saturated parts, go unseen."
            )
        label = f"score ({task.metric.unit})"
    if some:
        title = f"{int((~scores.data.isnan()).sum())} edges, each alone"
        return Plot("graph", "score", title=title, caption=caption, caveat=caveat, options={"colour_label": label})
    limit, told = _colour_limit(scores.data)
    options = {"zero_centred": True, "colour_label": label} | ({"colour_limit": limit} if limit else {})
    return Plot(
        "heatmap", "score", x="reader", y="writer", title="Edge scores", caption=caption + told, caveat=caveat,
        options=options,
    )  # fmt: skip


def _colour_limit(scores: Float[Tensor, "writers readers"]) -> tuple[float, str]:
    """Where colours end in a large graph, whose one largest edge would leave all others white; 0 for at the largest."""
    sizes = scores[~scores.isnan()].abs()
    limit = float(sizes.quantile(COLOURED)) if len(sizes) >= MANY else 0.0
    if not 0 < limit < float(sizes.max()):
        return 0.0, ""
    return limit, f" Colours end at a size of {limit:.2g}, which {100 * (1 - COLOURED):.2g} % of the edges exceed."
