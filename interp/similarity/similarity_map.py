"""The answer: how alike representations are, for every pair of sites, with intervals, chance, and what may mislead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.results import Axis, Plot, Provenance, Result, Values
from interp.results.plain import JSON
from interp.similarity.captions import CAVEAT, WORDS, axis_words, chance_words, layers_words, meaning_of
from interp.similarity.failure_modes import spanned

Label = str | int


class SimilarityMap(Result):
    """similarity [layer, other_layer] (axes "site" and "other_site" where sites are no layers), with low and high, the
    95 % interval over documents; p_value, p_adjusted (corrected for the number of pairs), chance_mean and chance_high
    from exchanging documents, where that was done; same_layer or next_layer [pair], low and high: the diagonal, or the
    one beside it, with intervals; largest_dimension, effective_dimensions [layer]: what may dominate. notes say what
    may mislead in this very case.
    """

    kind: ClassVar[str] = "similarity_map"

    @property
    def notes(self) -> list[str]:
        """One sentence on every reason for care that was found in the data."""
        return [str(note) for note in self.texts.get("notes", [])]

    @property
    def map(self) -> Float[Tensor, "s t"]:
        """The similarities as a matrix."""
        return self.values["similarity"].data

    def best_matches(self) -> pd.DataFrame:
        """For every layer of the first model the most similar one of the other (within a model: but itself)."""
        values = self.values["similarity"]
        data = values.data.nan_to_num(nan=-torch.inf).clone()
        if not self.settings["two_models"]:
            data.fill_diagonal_(-torch.inf)
        best = data.argmax(1)
        labels = [values.axes[1].labels[i] for i in best.tolist()]
        columns = {values.dims[0]: values.axes[0].labels, values.dims[1]: labels, "value": data.amax(1).tolist()}
        return pd.DataFrame(columns)


def build(
    *,
    measure: str,
    values: Float[Tensor, "s t"],
    labels: Sequence[Label],
    second_labels: Sequence[Label],
    ends: tuple[Tensor, Tensor] | None,
    chance: Mapping[str, Tensor],
    sites: Mapping[str, Sequence[Tensor]],
    notes: Sequence[str],
    cautions: Sequence[str],
    settings: Mapping[str, JSON],
    provenance: Provenance,
) -> SimilarityMap:
    """Put a result together. sites: name of a value -> of the first representations, and of the second ones.

    notes say what was read and left out; cautions what may mislead, and stand below the figure as well.
    """
    axes = _axes(labels, second_labels)
    unit, description = WORDS[measure]
    made = {"similarity": Values(values, axes, unit, description)}
    if ends is not None:
        for name, data in zip(("low", "high"), ends):
            made[name] = Values(data, axes, unit, f"{name}er end of the 95 % interval over documents")
    for name, data in chance.items():
        made[name] = Values(data, axes, "" if name.startswith("p_") else unit)
    made |= _beside(values, axes, ends, bool(second_labels), unit)
    for name, parts in sites.items():
        for part, axis, prefix in zip(parts, axes, ("", "other_")):
            # of the second model, on an axis of its own name
            made[f"{prefix}{name}"] = Values(part, (axis,))
    return SimilarityMap(
        values=made,
        settings={**settings, "measure": measure, "two_models": bool(second_labels)},
        provenance=provenance,
        plots=_plots(made, measure, bool(second_labels), settings, cautions),
        texts={"notes": [*notes, *cautions]},
    )


def _axes(labels: Sequence[Label], second_labels: Sequence[Label]) -> tuple[Axis, Axis]:
    both = [*labels, *second_labels]
    name = "layer" if all(isinstance(label, int) for label in both) else "site"
    return Axis(name, tuple(labels)), Axis(f"other_{name}", tuple(second_labels or labels))


def _beside(
    values: Tensor, axes: tuple[Axis, Axis], ends: tuple[Tensor, Tensor] | None, two: bool, unit: str
) -> dict[str, Values]:
    """Two models with the same labels: the diagonal. One model: every site with the next."""
    rows, columns = axes
    if (two and rows.labels != columns.labels) or len(rows) < 3:
        return {}
    offset = 0 if two else 1
    name = "same_layer" if two else "next_layer"
    axis = Axis(rows.name, rows.labels[: len(rows) - offset])
    words = "the two models at the same layer" if two else "each layer with the next one"
    made = {name: Values(values.diagonal(offset), (axis,), unit, words)}
    if ends is not None:
        for end, data in zip(("low", "high"), ends):
            made[f"{name}_{end}"] = Values(data.diagonal(offset), (axis,), unit)
    return made


def _plots(
    made: Mapping[str, Values], measure: str, two: bool, settings: Mapping[str, Any], cautions: Sequence[str]
) -> tuple[Plot, ...]:
    y, x = made["similarity"].dims
    title, meaning = WORDS[measure][0], meaning_of(measure, settings)
    caveat = " ".join([*cautions, CAVEAT])
    equal = ", every dimension with the same variance" if settings["standardise"] else ""
    if made["similarity"].data.numel() == 1:
        caption = f"{title[0].upper()}{title[1:]} over {settings['n']} {settings['unit']}: {meaning}."
        low, high = ("low", "high") if "low" in made else (None, None)
        return (Plot("table", "similarity", title=title, caption=caption, caveat=caveat, low=low, high=high),)
    between = "layers of two models" if two else "layers of one model"
    labels = {f"{name}_label": words for name, words in zip("yx", axis_words(settings, two)) if y == "layer"}
    heatmap = Plot(
        "heatmap",
        "similarity",
        x=x,
        y=y,
        title=f"{title}, {between}{equal}",
        caption=f"How alike the representations of {settings['n']} {settings['unit']} are, by {meaning}."
        + layers_words(settings)
        + chance_words(made, two, settings),
        caveat=caveat,
        options={"square": True, "origin": "lower", "colour_range": _range(made["similarity"].data)} | labels,
    )
    name = "same_layer" if two else "next_layer"
    if name not in made:
        return (heatmap,)
    low, high = (f"{name}_low", f"{name}_high") if f"{name}_low" in made else (None, None)
    words = "Both models at the same layer" if two else "Each layer with the next one"
    caption = f"{words}{_interval_words(made, name, settings) if low else ''}."
    options = {"x_label": labels["y_label"]} if labels else {}
    # Bars, since whiskers are seen where a band would be thinner than its line.
    beside = Plot(
        "bars",
        name,
        x=y,
        title=f"{title}: {words.lower()}{equal}",
        caption=caption,
        low=low,
        high=high,
        options=options,
    )
    return heatmap, beside


def _interval_words(made: Mapping[str, Values], name: str, settings: Mapping[str, Any]) -> str:
    """What intervals are over, and how wide they are."""
    whole = settings["n_groups"] == settings["n_documents"]
    over = f", with 95 % intervals over {settings['n_groups']} {'documents' if whole else 'groups of documents'}"
    widths = (made[f"{name}_high"].data - made[f"{name}_low"].data).float()
    if bool(widths.isnan().any()):
        return over
    return f"{over} ({spanned(widths, '.2g')} from end to end)"


def _range(data: Tensor) -> list[float]:
    """Colours from 0 to 1; from below where a debiased estimate is clearly under 0."""
    lowest = float(data[~data.isnan()].min()) if (~data.isnan()).any() else 0.0
    return [min(0.0, round(lowest, 2)) if lowest < -0.05 else 0.0, 1.0]
