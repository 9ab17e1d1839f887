"""`PatchingResult`: the effect of every patch of a sweep, with per-prompt values, intervals and baselines."""

from __future__ import annotations

from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from interp.results import Axis, Plot, Provenance, Result, Values, mean_with_interval
from interp.tasks import PromptPairs

# Below this share of the metric's own scale the difference between clean and corrupt is noise, and dividing by it
# would turn noise into numbers.
SMALLEST_DIFFERENCE = 1e-3


class PatchingResult(Result):
    """Effects of patching, positive where the component carries what makes the clean run clean.

    values: "effect" (mean over prompts) with "low" and "high" (95 % bootstrap), "effect_per_example", the baselines
    "clean" and "corrupt" per example, and "normalised" = effect / (m(clean) - m(corrupt)) where that is not near zero
    (`settings["normalised"]` says why when it is missing).
    """

    kind: ClassVar[str] = "patching"

    @property
    def difference(self) -> float:
        """m(clean) - m(corrupt), mean over prompts: what a full patch is worth."""
        return float(self.values["clean"].data.mean() - self.values["corrupt"].data.mean())


def outcome(
    task: PromptPairs,
    axes: tuple[Axis, ...],
    effects: Float[Tensor, "*cells batch"],
    baselines: dict[str, Float[Tensor, " batch"]],
    settings: dict[str, Any],
    provenance: Provenance,
) -> PatchingResult:
    """Put effects [*axes, prompt] and the two baselines [prompt] into a result with intervals and plots."""
    unit = task.metric.unit
    examples = Axis("example", tuple(range(len(task))))
    per_example = Values(effects, (*axes, examples), unit, "m(patched) against the unpatched run, per prompt")
    summary = mean_with_interval(per_example)
    values = {"effect": summary["mean"], "low": summary["low"], "high": summary["high"]}
    values["effect_per_example"] = per_example
    for name, baseline in baselines.items():
        values[name] = Values(baseline, (examples,), unit, f"m({name}), per prompt")
    difference = float(baselines["clean"].mean() - baselines["corrupt"].mean())
    size = float(max(baselines["clean"].abs().mean(), baselines["corrupt"].abs().mean()))
    if abs(difference) > SMALLEST_DIFFERENCE * max(size, 1e-12):
        share = summary["mean"].data / difference
        values["normalised"] = Values(share, axes, "share of m(clean) - m(corrupt)")
        settings = settings | {"normalised": f"effect / {difference:.6g}"}
    else:
        reason = f"refused: m(clean) - m(corrupt) is {difference:.3g}, near zero beside {size:.3g}"
        settings = settings | {"normalised": reason}
    plots = (_plot(axes, settings, unit, difference),)
    return PatchingResult(values=values, settings=settings, provenance=provenance, plots=plots)


def _plot(axes: tuple[Axis, ...], settings: dict[str, Any], unit: str, difference: float) -> Plot:
    names = [axis.name for axis in axes]
    over, direction = settings["over"], settings["direction"]
    moved = "clean into corrupt" if direction == "denoise" else "corrupt into clean"
    caption = (
        f"Effect on the {settings['metric'].replace('_', ' ')} ({unit}) of patching {over} from {moved} prompts; "
        f"a full patch is worth {difference:.2f}."
    )
    title = f"Patching {over} ({direction})"
    caveat = "One activation at a time: components that stand in for each other go unseen."
    options = {"zero_centred": True, "colour_label": f"effect ({unit})"}
    if len(names) == 1:
        return Plot("bars", "effect", x=names[0], title=title, caption=caption, caveat=caveat, low="low", high="high")
    y = "layer" if "layer" in names else names[0]
    rest = [name for name in names if name != y]
    across = next((name for name in ("position", "role", "head") if name in rest), rest[0])
    series = next((name for name in rest if name != across), None)
    return Plot(
        "heatmap", "effect", x=across, y=y, series=series, title=title, caption=caption, caveat=caveat, low="low",
        high="high", options=options,
    )  # fmt: skip
