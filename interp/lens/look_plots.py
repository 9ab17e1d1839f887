"""How a look shows itself: the lens first, then who writes the prediction, then attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from interp.lens.attribution_plots import CAPTIONS, caveat
from interp.lens.lens_values import lens_plots
from interp.results import Plot, Values


def look_plots(values: Mapping[str, Values], target: str, scale: float | None, capped: bool) -> tuple[Plot, ...]:
    """The plots of a look. scale: of the query-key products, None where there are none."""
    signed = {"zero_centred": True, "colour_label": "logits"}
    of = f"Direct contributions to {target!r}"
    prediction = values["log_prob"].axis("target").labels == ("prediction",)
    plots = [
        *(plot for plot in lens_plots(values, prediction) if plot.values == "log_prob"),
        Plot("heatmap", "head_contribution", x="head", y="layer", title=f"{of}, heads", options=signed),
        Plot("bars", "component_contribution", x="component", title=f"{of}, parts", options=signed | {"n_most": 20}),
        Plot("heatmap", "source_contribution", x="source", y="head", title=f"{of}, source tokens", options=signed),
    ]
    words = {"head_contribution": "head", "component_contribution": "component", "source_contribution": "source"}
    plots = [
        replace(plot, caption=CAPTIONS[words[plot.values]], caveat=caveat(capped)) if plot.values in words else plot
        for plot in plots
    ]
    plots.append(
        Plot(
            "attention",
            "pattern",
            title="Attention of the chosen heads",
            caption="Where each head looks from every token.",
        )
    )
    if scale is not None:
        plots.append(
            Plot(
                "attention",
                "queries",
                title="Query-key products",
                caption="The products q_i·k_i whose sum is the attention score of a query with each key.",
                options={"view": "query_key", "keys": "keys", "scale": scale},
            )
        )
    return tuple(plots)
