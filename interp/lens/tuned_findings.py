"""What an evaluation of a tuned lens found, in sentences made from its numbers."""

from __future__ import annotations

import math
from typing import Any

from interp.lens.tuned_evaluation import LENSES, TunedLensEvaluation
from interp.lens.tuned_training import too_few_tokens

FEW_NAMED = 8
"""Layers that a sentence names one by one."""


def tuned_lens_findings(found: TunedLensEvaluation) -> list[str]:
    """The middle layer, where the lens helps most, its bias there, and in how many layers it is worse; first what
    matters most."""
    layers = found.values["kl"].axis("layer").labels
    logit, tuned = (found.values["kl"].sel(lens=name).data.tolist() for name in LENSES)
    middle = len(layers) // 2
    gains = [before - after for before, after in zip(logit, tuned)]
    best = max(range(len(layers)), key=gains.__getitem__)
    comparison = [
        f"Layer {layers[middle]}, halfway: KL from the model's prediction {_told(found, 'tuned lens', middle)} "
        f"through the tuned lens and {_told(found, 'logit lens', middle)} through the logit lens."
    ]
    if gains[best] > 0:
        halfway = f", and {_bias(found, middle)} at layer {layers[middle]}" if middle != best else ""
        comparison.append(
            f"It helps most at layer {layers[best]}, {logit[best]:.3g} -> {tuned[best]:.3g} nats; the bias (KL of the "
            f"mean prediction) goes {_bias(found, best)} there{halfway}."
        )
    worse = [i for i, gain in enumerate(gains) if not gain >= 0]
    sentences = [_verdict(found, worse), *comparison] if worse else [*comparison, _verdict(found, worse)]
    few = too_few_tokens(found.settings["lens"])
    return [*sentences, *([few[0].upper() + few[1:] + "."] if few else [])]


def _verdict(found: TunedLensEvaluation, worse: list[int]) -> str:
    layers = found.values["kl"].axis("layer").labels
    if not worse:
        return f"In KL the tuned lens is nowhere worse than the logit lens, in {len(layers)} layers."
    logit, tuned = (found.values["kl"].sel(lens=name).data.tolist() for name in LENSES)
    worst = max(worse, key=lambda i: tuned[i] - logit[i] if math.isfinite(tuned[i]) else math.inf)
    named = ", ".join(str(layers[i]) for i in worse[:FEW_NAMED]) + (", ..." if len(worse) > FEW_NAMED else "")
    return (
        f"The tuned lens is worse than the logit lens in {len(worse)} of {len(layers)} layers ({named}), most at layer "
        f"{layers[worst]}: KL {tuned[worst]:.3g} against {logit[worst]:.3g} nats."
    )


def _told(found: TunedLensEvaluation, lens: str, i: int) -> str:
    mean, low, high = (float(_at(found, name, lens, i)) for name in ("kl", "kl_low", "kl_high"))
    ends = "" if math.isnan(low) or math.isnan(high) else f" [{low:.3g}, {high:.3g}]"
    return f"{mean:.3g} nats{ends}"


def _bias(found: TunedLensEvaluation, i: int) -> str:
    before, after = (float(_at(found, "bias", lens, i)) for lens in LENSES)
    return f"{before:.3g} -> {after:.3g} nats"


def _at(found: TunedLensEvaluation, name: str, lens: str, i: int) -> Any:
    return found.values[name].sel(lens=lens).data[i]
