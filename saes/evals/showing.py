"""How an evaluation is drawn, and the sentence under each figure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd

from interp.results import Plot, Values, interval_words
from saes.evals.findings import direction_finding, firing_finding, frontier_finding, spread_finding

MAX_LINES = 6
"""Histograms of more dictionaries than this are drawn as rows of colour instead of lines."""


def evaluation_plots(
    values: Mapping[str, Values], frame: pd.DataFrame, n_prompts: int, n_tokens: int
) -> tuple[Plot, ...]:
    """The plots of an evaluation. frame: a row for each dictionary with its name, its family and its measures."""
    plots = [_summary(values, n_prompts, n_tokens)]
    families = dict(zip(frame["dictionary"], frame["family"]))
    if len(frame) > 1:
        plots += _frontiers(values, frame, families, n_prompts)
    plots += [
        _distribution(
            "histogram",
            "log10 share",
            "How often latents fire",
            f"{firing_finding(frame)} Latents by the share of {n_tokens:,} tokens they fire on (log10).",
            len(frame),
        ),
        _distribution(
            "nearest",
            "cosine",
            "How alike directions are",
            f"{direction_finding(frame)} Living latents by the largest cosine of their direction with another.",
            len(frame),
        ),
    ]
    if "spread" in values:
        plots.append(_spread(values["spread"]))
    return tuple(plots)


def _summary(values: Mapping[str, Values], n_prompts: int, n_tokens: int) -> Plot:
    more = (
        " L0: active latents per token. EV: explained variance. Dead: fired on none of these tokens; dense: on over a"
    )
    more += " tenth. Alike: mean over living latents of the largest cosine of their direction with another."
    if "runs" in values:
        more += (
            " Recovered: share of the loss that the mean activation would cost (over zeros: that zeros would); loss +,"
            " the increase, and KL in nats, with the reconstruction in place of the activations."
        )
    return Plot(
        "table",
        "summary",
        x="measure",
        y="dictionary",
        title="Dictionaries on held-out tokens",
        caption=f"{n_tokens:,} tokens of {n_prompts} prompts out of documents that no dictionary was trained on.{more}",
    )


def _frontiers(
    values: Mapping[str, Values], frame: pd.DataFrame, families: dict[str, str], n_prompts: int
) -> list[Plot]:
    common: dict[str, Any] = {"x": "coordinate", "series": "dictionary"}
    # A line through seeds of one kind would look like a frontier, and is chance.
    seeds = any(re.search(r"-seed\d+$", name) for name in families)
    options: dict[str, Any] = {"families": families, "named": [], "connected": not seeds}
    plots = [
        Plot(
            "scatter",
            "frontier",
            title="Sparsity against explained variance",
            caption=f"{frontier_finding(frame, 'explained_variance')} A point is a dictionary"
            f"{', each seed one of its own' if seeds else ''}.",
            options=options,
            **common,
        )
    ]
    if "frontier_ce" in values:
        plots.append(
            Plot(
                "scatter",
                "frontier_ce",
                title="Sparsity against the loss recovered",
                caption=f"{frontier_finding(frame, 'ce_recovered_mean')} Against the mean activation in place of the "
                f"reconstruction; {interval_words(n_prompts, 'prompts')}.",
                caveat="All are measured on the same prompts: their order is surer than the intervals say.",
                low="frontier_ce_low",
                high="frontier_ce_high",
                options=options,
                **common,
            )
        )
    return plots


def _distribution(values: str, axis: str, title: str, caption: str, n: int) -> Plot:
    kind: Literal["lines", "heatmap"] = "lines" if n <= MAX_LINES else "heatmap"
    if kind == "lines":
        return Plot(
            kind, values, x=axis, series="dictionary", title=title, caption=caption, options={"y_label": "latents"}
        )
    options = {"colour_label": "latents", "zero_centred": False}
    return Plot(kind, values, x=axis, y="dictionary", title=title, caption=caption, options=options)


def _spread(spread: Values) -> Plot:
    frame = pd.DataFrame(spread.data.numpy(), columns=["mean", "range", "sd", "n"])
    frame.insert(0, "kind", list(spread.axes[0].labels))
    return Plot(
        "table",
        "spread",
        x="statistic",
        y="kind",
        title="Explained variance over seeds",
        caption=spread_finding(frame),
        caveat="The seeds saw the same tokens in the same order; other orders would differ more.",
    )
