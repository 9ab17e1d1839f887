"""Hinton diagrams and spectra in the complex plane: what is drawn are the numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from interp.errors import InputError
from interp.results import Plot, Result
from interp.viz import figure, theme
from interp.viz.shades import colour_at, contrast
from tests.viz.conftest import numbers, values

Make = Callable[..., Result]


def squares(trace: object) -> dict[tuple[int, int], float]:
    """Side of the square of each cell (row, column), from the outline."""
    corners = np.array([[np.nan if v is None else v for v in side] for side in (trace.x, trace.y)]).T  # type: ignore[attr-defined]
    found = {}
    for corner in corners.reshape(-1, 6, 2)[:, :5]:
        column, row = (corner[:4].max(0) + corner[:4].min(0)) / 2
        found[(round(row), round(column))] = float(np.ptp(corner[:4, 0]))
    return found


def test_the_area_of_a_square_is_the_size_and_its_colour_the_sign(make: Make) -> None:
    data = numbers(5, 7)
    data[2, 3], data[1, 1] = 0.0, float("nan")
    drawn = figure(make({"w": values(data, row=5, column=7)}), Plot("hinton", "w", x="column", y="row"))
    cells, positive, negative = drawn.data
    assert (positive.fillcolor, negative.fillcolor) == (theme.POSITIVE, theme.NEGATIVE)
    found = squares(positive) | squares(negative)
    largest = float(data.nan_to_num().abs().max())
    for (row, column), side in found.items():
        assert side**2 / 0.94**2 == pytest.approx(abs(float(data[row, column])) / largest, abs=5e-3)
        assert ((row, column) in squares(positive)) == bool(data[row, column] > 0)
    assert (2, 3) not in found
    assert (1, 1) not in found
    assert theme.number(float(data[4, 6]), 4) in cells.hovertext[4][6]
    assert theme.number(largest) in drawn.layout.annotations[-1].text


@pytest.mark.parametrize("own_scale", [True, False])
def test_panels_share_a_scale_unless_told_otherwise(make: Make, own_scale: bool) -> None:
    data = torch.stack([numbers(3, 4), 10 * numbers(3, 4)])
    result = make({"w": values(data, view=["raw", "scaled"], row=3, column=4)})
    plot = Plot("hinton", "w", x="column", y="row", series="view", options={"own_scale": own_scale})
    drawn = figure(result, plot)
    sides = [max((squares(drawn.data[3 * i + 1]) | squares(drawn.data[3 * i + 2])).values()) for i in (0, 1)]
    assert sides[1] == pytest.approx(0.94, abs=2e-3)
    assert sides[0] == pytest.approx(0.94 if own_scale else 0.94 / 10**0.5, abs=2e-3)
    assert [note.text for note in drawn.layout.annotations[:2]] == ["raw", "scaled"]


@pytest.mark.parametrize("shape", [(1, 1), (40, 3), (3, 40), (64, 64)])
def test_diagrams_of_any_shape_have_a_sensible_height(make: Make, shape: tuple[int, int]) -> None:
    drawn = figure(make({"w": values(numbers(*shape), row=shape[0], column=shape[1])}), Plot("hinton", "w"))
    assert 100 <= drawn.layout.height <= 1000
    assert len(drawn.to_json()) < 1_200_000


def test_eigenvalues_keep_their_angle_and_the_root_of_their_size(make: Make) -> None:
    data = numbers(2, 6, 2)
    result = make({"v": values(data, head=["a", "b"], i=6, part=["real", "imaginary"]),
                   "c": values(2 * data, head=["a", "b"], i=6, part=["real", "imaginary"])})  # fmt: skip
    drawn = figure(result, Plot("complex_plane", "v", x="part", series="head", options={"behind": "c"}))
    points = [trace for trace in drawn.data if trace.mode == "markers"]
    assert len(points) == 4, "a control and the values in each panel"
    for panel, trace in enumerate(points[1::2]):
        ours = np.array(trace.x) + 1j * np.array(trace.y)
        true = data[panel, :, 0].numpy() + 1j * data[panel, :, 1].numpy()
        assert np.allclose(np.angle(ours), np.angle(true), atol=1e-2)
        assert np.allclose(np.abs(ours), np.sqrt(np.abs(true) / np.abs(true).max()), atol=1e-3)
        assert f"size {theme.number(float(np.abs(true[0])), 3)}" in trace.hovertext[0]


def test_the_legend_of_a_diagram_begins_where_its_cells_do(make: Make) -> None:
    note = figure(make({"w": values(numbers(3, 4), row=3, column=4)}), Plot("hinton", "w")).layout.annotations[-1]
    assert (note.xref, note.x) == ("x domain", 0)


def test_words_in_cells_can_be_read_on_every_colour(make: Make) -> None:
    data = torch.linspace(3, 66, 40).view(4, 10)
    result = make({"s": values(data, end=4, word=10)}, texts={"t": [[" the", "the", "\xa0", "\n  "] + ["a"] * 6] * 4})
    options = {"cell_text": "t", "show_spaces": True, "colour_range": [3, 9]}
    drawn = figure(result, Plot("heatmap", "s", x="word", y="end", options=options))
    (trace,) = drawn.data
    told = np.array(trace.text)
    assert trace.textfont.color == theme.INK
    ratios = []
    for value, text in zip(data.flatten(), told.flatten()):
        ground = colour_at(min(1.0, (float(value) - 3) / 6), theme.SEQUENTIAL)
        ratios.append(contrast(ground, np.array([255.0] * 3) if "#ffffff" in text else np.array([31.0, 41.0, 51.0])))
    assert min(ratios) > 3.5
    assert "·the" in told[0, 0]
    assert "·" not in told[0, 1]
    assert "\\xa0" in told[0, 2]
    assert "↵··" in told[0, 3]
    assert drawn.layout.coloraxis.colorbar.ticktext == ("3", "5", "7", "≥ 9")


def test_every_colour_of_a_scale_has_a_readable_text() -> None:
    white, ink = np.array([255.0] * 3), np.array([31.0, 41.0, 51.0])
    for scale in (theme.SEQUENTIAL, theme.DIVERGING):
        for place in np.linspace(0, 1, 60):
            ground = colour_at(float(place), scale)
            assert max(contrast(ground, white), contrast(ground, ink)) > 3.5
    assert contrast(white, np.zeros(3)) == pytest.approx(21)


def test_what_is_no_complex_number_is_refused(make: Make) -> None:
    result = make({"v": values(numbers(4, 3), i=4, part=3), "c": values(numbers(4, 2), i=4, part=2)})
    with pytest.raises(InputError, match="two parts"):
        figure(result, Plot("complex_plane", "v", x="part"))
    with pytest.raises(InputError, match="behind='d'"):
        figure(result, Plot("complex_plane", "c", x="part", options={"behind": "d"}))
