"""Vectors in the plane, and scatters on a logarithmic axis: what is drawn where."""

from __future__ import annotations

import pytest
import torch

from interp.errors import InputError
from interp.results import Axis, Plot, Provenance, Result, Values
from interp.viz import figure

SOURCE = Provenance(model={}, task={}, seed=0, environment={}, started="", ended="")


def shown(n_coordinates: int = 2, **options: object) -> Result:
    """Two panels of three vectors; a scatter of three points."""
    axes = (Axis("sparsity", ("0", "0.9")), Axis("feature", (0, 1, 2)), Axis("side", tuple(range(n_coordinates))))
    data = torch.arange(6.0 * n_coordinates).reshape(2, 3, n_coordinates) / 4
    points = Values(
        torch.tensor([[1.0, 0.5], [10.0, 0.4], [100.0, 0.3]]), (Axis("point", (0, 1, 2)), Axis("xy", (0, 1)))
    )
    return Result(
        values={"v": Values(data, axes), "p": points},
        settings={},
        provenance=SOURCE,
        plots=(
            Plot("vectors", "v", x="side", series="sparsity", options=options),
            Plot("scatter", "p", x="xy", series="point", options={"log_x": True, "references": {"half": 0.5}}),
        ),
    )


def test_a_line_from_the_origin_for_each_vector_and_a_circle_in_each_panel() -> None:
    drawn = figure(shown(), 0)
    assert len(drawn.data) == 6
    last = drawn.data[5]
    assert (last.x[0], last.y[0]) == (0, 0)
    assert (last.x[1], last.y[1]) == (2.5, 2.75)
    assert [one.text for one in drawn.layout.annotations] == ["sparsity 0", "sparsity 0.9"]
    assert [shape.type for shape in drawn.layout.shapes] == ["circle"] * 2
    assert drawn.layout.xaxis.range[1] > 2.75
    assert drawn.layout.yaxis2.scaleanchor == "x2"


def test_families_share_a_colour_and_panels_stand_below_each_other() -> None:
    drawn = figure(shown(families={"0": "a", "1": "a", "2": "b"}, across=1), 0)
    first, second, third = (trace.line.color for trace in drawn.data[:3])
    assert first == second != third
    assert drawn.layout.xaxis.domain == drawn.layout.xaxis2.domain
    assert drawn.layout.yaxis.domain[0] > drawn.layout.yaxis2.domain[1]


def test_vectors_in_space_are_refused() -> None:
    with pytest.raises(InputError, match="drawn in the plane, and the axis 'side' has 3 labels"):
        figure(shown(3), 0)


def test_one_selected_panel_has_no_title() -> None:
    drawn = shown().sel(sparsity="0.9").figure()
    assert len(drawn.data) == 3
    assert not drawn.layout.annotations


def test_a_logarithmic_scatter_keeps_its_points_inside() -> None:
    drawn = figure(shown(), 1)
    low, high = drawn.layout.xaxis.range
    assert drawn.layout.xaxis.type == "log"
    assert low < 0 < 2 < high < 2.5
    assert list(drawn.data[0].x) == [1, 10, 100]
    assert "half<br>0.5" in [one.text for one in drawn.layout.annotations]
