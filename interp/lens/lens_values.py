"""From the readings of a lens to named values, plots and texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.models.tokens import to_strings
from interp.results import Axis, Plot, Values, mean_with_interval
from interp.results.axes import Label

LAYERS = "Layer L is the stream that enters block L: 0 the embeddings, one past the last block the model's output."
OWN_BASIS = "Early layers need not write in the basis that the unembedding reads."
MAX_WRITTEN = 16
"""Positions of a map whose cells have room for a token."""


def lens_values(
    groups: Mapping[str, int],
    layers: Sequence[Label],
    positions: Sequence[str],
    single_position: bool,
    readings: Mapping[str, Tensor],
) -> dict[str, Values]:
    """Named values of readings [batch, layer, chosen, ...]; groups: name -> number of columns that belong together."""
    n_prompts = readings["entropy"].shape[0]
    axes = [Axis("example", tuple(range(n_prompts))), Axis("layer", tuple(layers)), Axis("position", tuple(positions))]
    targets = Axis("target", tuple(groups))
    log_probs = readings["log_probs"].split(list(groups.values()), dim=-1)
    ranks = readings["ranks"].split(list(groups.values()), dim=-1)

    def named(data: Tensor, unit: str, *more: Axis) -> Values:
        values = Values(data, (*axes, *more), unit)
        return values.sel(position=positions[0]) if single_position else values

    found: dict[str, Values] = {}
    if set(groups) == {"answer", "distractor"}:
        difference = log_probs[0].nanmean(-1) - log_probs[1].nanmean(-1)
        found |= _over_prompts("logit_difference", named(difference, "logits"), "", "per_prompt")
    # Probabilities of a set add up; -inf stands for a padding column, which adds nothing.
    together = torch.stack([_sum_of_probabilities(part) for part in log_probs], dim=-1)
    found |= _over_prompts("log_prob", named(together, "nats", targets), "log_prob_", "log_prob_per_prompt")
    best = torch.stack([part.masked_fill(part < 0, torch.iinfo(torch.int64).max).amin(-1) for part in ranks], dim=-1)
    best = best.double().masked_fill(together.isnan(), float("nan"))
    found |= _median_over_prompts("rank", named(best, "rank", targets))
    found |= _over_prompts("entropy", named(readings["entropy"], "nats"), "entropy_", "entropy_per_prompt")
    k = Axis("k", tuple(range(1, readings["top_ids"].shape[-1] + 1)))
    for name, unit in (("top_ids", "token id"), ("top_log_probs", "nats")):
        every = named(readings[name], unit, k)
        found[name] = every.sel(example=0) if n_prompts == 1 else every
    return found


def _sum_of_probabilities(log_probs: Float[Tensor, "*any column"]) -> Float[Tensor, "*any"]:
    nothing = log_probs.isnan()
    total = log_probs.masked_fill(nothing, float("-inf")).logsumexp(-1)
    return total.masked_fill(nothing.all(-1), float("nan"))


def _over_prompts(name: str, values: Values, prefix: str, kept_as: str) -> dict[str, Values]:
    if len(values.data) == 1:
        return {name: values.sel(example=0)}
    means = mean_with_interval(values)
    return {name: means["mean"], f"{prefix}low": means["low"], f"{prefix}high": means["high"], kept_as: values}


def _median_over_prompts(name: str, values: Values) -> dict[str, Values]:
    if len(values.data) == 1:
        return {name: values.sel(example=0)}
    middle = values.data.nanquantile(0.5, dim=0)  # of two middle ranks nanmedian takes the lower
    median = Values(middle, values.axes[1:], values.unit, "median over prompts, 0 is the top")
    return {name: median, f"{name}_per_prompt": values}


def lens_texts(model: Any, values: Mapping[str, Values]) -> dict[str, Any]:
    """The most probable token of every layer and position, for a single prompt."""
    ids = values["top_ids"]
    if "example" in ids.dims:
        return {}
    best = ids.sel(k=1).data
    flat = to_strings(model, best.flatten())
    if best.ndim == 1:
        return {"top_tokens": flat}
    width = best.shape[1]
    return {"top_tokens": [flat[i : i + width] for i in range(0, len(flat), width)]}


def lens_plots(
    values: Mapping[str, Values], prediction: bool, lens: str = "Logit lens", caveat: str = OWN_BASIS
) -> tuple[Plot, ...]:
    """Lines over the layers for one position, maps of layer and position for several. lens: what its titles say."""
    plots = []
    words = {"caveat": caveat}
    if "logit_difference" in values:
        plots.append(
            _plot(
                values,
                "logit_difference",
                f"{lens}: logit difference",
                "Answer less distractor",
                words,
                {"zero_line": True},
            )
        )
    of = "the model's final prediction" if prediction else "each target"
    plots.append(_plot(values, "log_prob", f"{lens}: log-probability", f"Log-probability of {of}", words))
    plots.append(_plot(values, "entropy", f"{lens}: entropy", "Entropy of the whole prediction", words))
    return tuple(plots)


def _plot(
    values: Mapping[str, Values],
    name: str,
    title: str,
    what: str,
    said: Mapping[str, str],
    options: dict[str, Any] | None = None,
) -> Plot:
    drawn = values[name]
    prefix = "" if name == "logit_difference" else f"{name}_"
    bounds = {"low": f"{prefix}low", "high": f"{prefix}high"} if f"{prefix}low" in values else {}
    words: dict[str, Any] = {
        "title": title,
        "caption": f"{what} if the model ended at each layer. {LAYERS}",
        **said,
    }
    targets = "target" if "target" in drawn.dims and len(drawn.axis("target")) > 1 else None
    if "position" not in drawn.dims:
        return Plot("lines", name, x="layer", series=targets, **words, **bounds, options=options or {})
    shown: dict[str, Any] = {"origin": "lower", "colour_label": drawn.unit}
    if name == "logit_difference":
        shown["zero_centred"] = True
    if name == "log_prob":
        # Below, a token is not predicted at all; the differences there would take all the colours.
        shown["colour_range"] = [-15, 0]
    one_prompt = "example" not in values["top_ids"].dims
    if name == "log_prob" and not targets and one_prompt and len(drawn.axis("position")) <= MAX_WRITTEN:
        shown["cell_text"] = "top_tokens"
        words["caption"] += " In the cells: the most probable token."
    return Plot("heatmap", name, x="position", y="layer", series=targets, **words, **bounds, options=shown)
