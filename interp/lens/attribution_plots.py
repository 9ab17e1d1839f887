"""How an attribution shows itself."""

from __future__ import annotations

from collections.abc import Mapping

from interp.results import Plot, Values

_CAVEAT = (
    "Direct contributions only: what a part does by way of later parts is not in it, and the final norm's scale is "
    "held at its actual value."
)
_CAPPED = " The logits are those before the model's soft cap or scale."
_NAMES = {"layer": "layer", "component": "component", "head": "head", "source": "source token"}
CAPTIONS = {
    "layer": "What each layer (attention and MLP of that block) adds to the logit difference by what it writes itself.",
    "component": "What embedding, attention (a3: of block 3) and MLPs (m3) add to the logit difference themselves.",
    "head": "What each attention head adds to the logit difference by what it writes itself; its layer is its block.",
    "source": "How much of each head's contribution comes from each token it attends to.",
}


def caveat(capped: bool) -> str:
    """What an attribution does not show; capped: whether the model changes its logits afterwards."""
    return _CAVEAT + _CAPPED * capped


def attribution_plots(by: str, values: Mapping[str, Values], capped: bool) -> tuple[Plot, ...]:
    """Bars for layers and components, a map for heads and sources."""
    bounds = {"low": "low", "high": "high"} if "low" in values else {}
    words = {"title": f"Direct attribution by {_NAMES[by]}", "caption": CAPTIONS[by], "caveat": caveat(capped)}
    options = {"zero_centred": True, "colour_label": "logits"}
    if by == "head":
        rest_bounds = {"low": "rest_low", "high": "rest_high"} if "rest_low" in values else {}
        beside = {
            "title": "What no head writes",
            "caption": "The other parts of the same sum.",
            "caveat": words["caveat"],
        }
        return (
            Plot("heatmap", "contribution", x="head", y="layer", **words, **bounds, options=options),
            Plot("bars", "rest", x="component", **beside, **rest_bounds, options=options | {"n_most": 20}),
        )
    if by == "source":
        return (Plot("heatmap", "contribution", x="source", y="head", **words, **bounds, options=options),)
    (axis,) = values["contribution"].dims
    shown = options | ({"n_most": 20} if by == "component" else {})
    return (Plot("bars", "contribution", x=axis, **words, **bounds, options=shown),)
