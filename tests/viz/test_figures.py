from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from interp.errors import InputError
from interp.results import Plot, Result
from interp.viz import figure, theme
from interp.viz.graphs import edges_of
from tests.viz.conftest import HOSTILE, TOKENS, causal, numbers, values

Make = Callable[..., Result]


def z_of(trace: Any) -> np.ndarray:
    return np.asarray(trace.z, dtype=float)


def test_a_heatmap_shows_its_numbers_and_their_intervals(heatmap: Result) -> None:
    drawn = figure(heatmap)
    data = heatmap.values["effect"].data.double().numpy()
    (trace,) = drawn.data
    assert np.allclose(z_of(trace), data)
    hover = trace.hovertext[2][6]
    assert "layer <b>2</b>" in hover
    assert "position <b> Mary</b>" in hover
    assert theme.interval(float(data[2, 6]) - 0.5, float(data[2, 6]) + 0.25) in hover


def test_a_zero_centred_scale_is_as_long_on_both_sides(heatmap: Result) -> None:
    axis = figure(heatmap).layout.coloraxis
    largest = float(heatmap.values["effect"].data.abs().max())
    assert (axis.cmin, axis.cmax) == (pytest.approx(-largest), pytest.approx(largest))
    assert axis.colorscale[len(axis.colorscale) // 2][0] == 0.5


def test_a_heatmap_can_be_turned_around(heatmap: Result) -> None:
    drawn = figure(heatmap, Plot("heatmap", "effect", x="layer", y="position"))
    assert np.allclose(z_of(drawn.data[0]), heatmap.values["effect"].data.numpy().T)


def test_repeated_tokens_get_a_column_each(heatmap: Result) -> None:
    axis = figure(heatmap).layout.xaxis
    assert list(axis.tickvals) == list(range(8))
    assert list(axis.ticktext).count(" Mary") == 2


def test_facets_share_one_colour_scale(make: Make) -> None:
    data = numbers(3, 4, 5)
    result = make({"v": values(data, kind=["a", "b", "<c>"], layer=4, head=5)})
    drawn = figure(result, Plot("heatmap", "v", x="head", y="layer", series="kind"))
    assert len(drawn.data) == 3
    assert all(trace.coloraxis == "coloraxis" for trace in drawn.data)
    assert drawn.layout.coloraxis.cmax == pytest.approx(float(data.max()))
    assert np.allclose(z_of(drawn.data[2]), data[2].numpy())
    assert "&lt;c&gt;" in [note.text for note in drawn.layout.annotations]


@pytest.mark.parametrize("shape", [(30, 9), (9, 30), (1, 1), (2, 100), (100, 2)])
def test_heatmaps_of_any_shape_have_a_sensible_height(make: Make, shape: tuple[int, int]) -> None:
    drawn = figure(make({"v": values(numbers(*shape), layer=shape[0], head=shape[1])}), Plot("heatmap", "v"))
    assert 140 <= drawn.layout.height <= 1100


def test_cells_carry_their_strings_whichever_way_the_map_lies(make: Make) -> None:
    texts = {"top": [["a", "b", "<c>"], ["d", "e", "f"]]}
    result = make({"p": values(torch.rand(2, 3), layer=2, position=3)}, texts=texts)
    upright = figure(result, Plot("heatmap", "p", x="position", y="layer", options={"cell_text": "top"}))
    turned = figure(result, Plot("heatmap", "p", x="layer", y="position", options={"cell_text": "top"}))
    # Without the colour that dark cells give their text.
    told = [[re.sub("<.*?>", "", text) for text in row] for row in (upright.data[0].text[0], turned.data[0].text[2])]
    assert told == [["a", "b", "&lt;c&gt;"], ["&lt;c&gt;", "f"]]
    with pytest.raises(InputError, match="top"):
        figure(result, Plot("heatmap", "p", options={"cell_text": "topp"}))


def test_large_heatmaps_do_without_a_hover_text_per_cell(make: Make) -> None:
    drawn = figure(make({"v": values(numbers(200, 200), query=200, key=200)}), Plot("heatmap", "v"))
    assert drawn.data[0].hovertext is None
    assert len(drawn.to_json()) < 400_000


def test_lines_keep_numbers_and_bands(make: Make) -> None:
    mean, steps = numbers(2, 3), ["1", "10", "100"]
    axes = {"seed": 2, "step": steps}
    named = {"v": values(mean, "nats", **axes), "l": values(mean - 1, **axes), "h": values(mean + 2, **axes)}
    options = {"log_x": True, "references": {"chance": 0.5}}
    drawn = figure(make(named), Plot("lines", "v", x="step", series="seed", low="l", high="h", options=options))
    lines = [trace for trace in drawn.data if trace.fill is None and trace.line.width]
    assert [trace.name for trace in lines] == ["seed 0", "seed 1"]
    assert list(lines[1].x) == [1, 10, 100]
    assert np.allclose(lines[1].y, mean[1].numpy())
    bands = [trace for trace in drawn.data if trace.fill == "tonexty"]
    assert np.allclose(bands[0].y, mean[0].numpy() - 1)
    assert drawn.layout.xaxis.type == "log"
    assert drawn.layout.xaxis.ticktext == ("1", "2", "5", "10", "20", "50", "100", "200", "500")
    assert any("chance" in note.text for note in drawn.layout.annotations)


def test_bars_have_whiskers_to_their_bounds(make: Make) -> None:
    data = torch.tensor([1.0, -2.0, 0.5])
    axes = {"component": ["attn", "mlp", "embed"]}
    named = {"v": values(data, **axes), "l": values(data - 0.1, **axes), "h": values(data + 0.3, **axes)}
    plot = Plot("bars", "v", x="component", low="l", high="h", options={"zero_centred": True})
    (trace,) = figure(make(named), plot).data
    assert np.allclose(trace.y, data.numpy())
    assert np.allclose(trace.error_y.array, 0.3)
    assert np.allclose(trace.error_y.arrayminus, 0.1)
    assert list(trace.marker.color) == [theme.POSITIVE, theme.NEGATIVE, theme.POSITIVE]


def test_only_the_largest_bars_when_asked_largest_first(make: Make) -> None:
    data = torch.tensor([1.0, -3.0, 0.5, float("nan")])
    result = make({"v": values(data, head=["a", "b", "c", "d"])})
    drawn = figure(result, Plot("bars", "v", x="head", options={"n_most": 2}))
    assert list(drawn.data[0].y) == [-3, 1]
    assert list(drawn.layout.xaxis.ticktext) == ["b", "a"]


def test_bars_with_long_names_lie_on_their_side(make: Make) -> None:
    names = [f"a template with a long name, number {i}" for i in range(6)]
    (trace,) = figure(make({"v": values(numbers(6), template=names)}), Plot("bars", "v", x="template")).data
    assert trace.orientation == "h"


def scatter_of(make: Make, data: torch.Tensor, **options: Any) -> Any:
    names = [f"set {i}" for i in range(len(data))]
    named = {name: values(data + by, "logits", which=names, side=["F(M)", "F(C)"])
             for name, by in (("v", 0.0), ("l", -0.5), ("h", 0.25))}  # fmt: skip
    return figure(make(named), Plot("scatter", "v", x="side", series="which", low="l", high="h", options=options))


def test_a_scatter_has_both_coordinates_and_both_intervals(make: Make) -> None:
    data = numbers(5, 2)
    families = {"set 0": "a", "set 1": "b", "set 2": "a", "set 3": "b", "set 4": "a"}
    drawn = scatter_of(make, data, families=families, named=["set 1", "set 4"], diagonal="equal")
    a, b = drawn.data
    assert (a.name, b.name) == ("a", "b")
    assert np.allclose(a.x, data[[0, 2, 4], 0].numpy())
    assert np.allclose(b.y, data[[1, 3], 1].numpy())
    for bars in (a.error_x, a.error_y):
        assert np.allclose(bars.array, 0.25)
        assert np.allclose(bars.arrayminus, 0.5)
    assert list(a.text) == ["", "", "set 4"]
    assert list(b.text) == ["set 1", ""]
    assert "F(C): <b>" in a.hovertext[0]
    assert theme.interval(float(data[0, 1]) - 0.5, float(data[0, 1]) + 0.25) in a.hovertext[0]
    (line,) = drawn.layout.shapes
    assert (line.x0, line.x1) == (line.y0, line.y1) == tuple(drawn.layout.xaxis.range)
    assert drawn.layout.xaxis.title.text == "F(M) (logits)"


def test_names_in_a_scatter_keep_away_from_each_other_and_from_the_edge(make: Make) -> None:
    data = torch.tensor([[0.0, 0.0], [0.05, 0.01], [10.0, 5.0], [0.0, 10.0]])
    names = [f"a set of heads with a long name, {i}" for i in range(4)]
    result = make({"v": values(data, which=names, side=["x", "y"])})
    (trace,) = figure(result, Plot("scatter", "v", x="side", series="which")).data
    assert len({trace.textposition[0], trace.textposition[1]}) == 2
    assert trace.textposition[2].endswith("left")
    assert trace.textposition[3].endswith("right")


def test_a_scatter_of_other_than_two_coordinates_is_refused(make: Make) -> None:
    result = make({"v": values(numbers(4, 3), which=4, side=3)})
    with pytest.raises(InputError, match="two numbers a point"):
        figure(result, Plot("scatter", "v", x="side", series="which"))


def test_a_table_writes_its_intervals(heatmap: Result) -> None:
    plot = Plot("table", "effect", x="position", y="layer", low="low", high="high")
    cells = figure(heatmap, plot).data[0].cells.values
    data = heatmap.values["effect"].data.double().numpy()
    assert list(cells[0]) == ["0", "1", "2"]
    one = float(data[1, 0])
    expected = f"{theme.number(one)} {theme.interval(one - 0.5, one + 0.25)}"
    assert cells[1][1] == expected
    assert len(cells) == 1 + len(TOKENS)


def test_a_single_number_is_a_table_too(make: Make) -> None:
    drawn = figure(make({"accuracy": values(torch.tensor(0.5))}), Plot("table", "accuracy"))
    assert [list(column) for column in drawn.data[0].cells.values] == [["0.5"]]


def test_a_graph_is_the_same_from_a_matrix_and_from_a_list(make: Make) -> None:
    matrix = torch.tensor([[2.0, 0.0], [-1.0, float("nan")]])
    both = make(
        {
            "m": values(matrix, writer=["embed", "a0.1"], reader=["a3.7.q", "logits"]),
            "e": values(torch.tensor([2.0, -1.0]), edge=["embed->a3.7.q", "a0.1->a3.7.q"]),
        }
    )
    from_matrix = edges_of(both, Plot("graph", "m", x="writer", y="reader"))
    assert from_matrix == edges_of(both, Plot("graph", "e"))
    assert {(edge.writer, edge.reader): edge.score for edge in from_matrix}[("a0.1", "a3.7.q")] == -1


def test_edges_are_wide_by_size_and_coloured_by_sign(make: Make) -> None:
    scores = {"embed->a0.1.v": 4.0, "a0.1->m0": -4.0, "m0->logits": 0.1, "embed->logits": 0.0}
    result = make({"e": values(torch.tensor(list(scores.values())), edge=list(scores))})
    drawn = figure(result, Plot("graph", "e"))
    lines = {(trace.line.color, trace.line.width) for trace in drawn.data if trace.mode == "lines"}
    widths = [width for _, width in lines]
    assert {(theme.POSITIVE, max(widths)), (theme.NEGATIVE, max(widths)), (theme.POSITIVE, min(widths))} == lines
    (nodes,) = (trace for trace in drawn.data if "embed" in (trace.text or ()))
    heights = dict(zip(nodes.text, nodes.y, strict=True))
    assert heights["embed"] < heights["a0.1"] < heights["m0"] < heights["logits"]


def test_an_edge_without_an_arrow_is_refused(make: Make) -> None:
    with pytest.raises(InputError, match="writer->reader"):
        figure(make({"e": values(torch.ones(1), edge=["embed logits"])}), Plot("graph", "e"))


def test_attention_has_a_static_figure_with_the_future_left_out(attention: Result) -> None:
    drawn = figure(attention)
    assert len(drawn.data) == 4
    z = z_of(drawn.data[1])
    assert np.allclose(np.nan_to_num(z), attention.values["pattern"].data[0, 1].numpy())
    assert math.isnan(z[0, 7])


def test_attention_is_averaged_over_prompts_of_one_length(make: Make) -> None:
    data = torch.stack([causal(2, 8), causal(2, 8).flip(0)])
    result = make(
        {"p": values(data, example=2, head=2, query=8, key=8)}, texts={"tokens": [TOKENS, ["x", *TOKENS[1:]]]}
    )
    drawn = figure(result, Plot("attention", "p"))
    assert np.allclose(np.nan_to_num(z_of(drawn.data[0])), data.mean(0)[0].numpy(), atol=1e-6)
    assert list(drawn.layout.xaxis.ticktext) == [str(i) for i in range(8)]


def test_text_has_a_static_figure_with_every_token(text: Result) -> None:
    (trace,) = figure(text).data
    shown = [cell for row in trace.text for cell in row if cell]
    assert len(shown) == 8 + 5
    assert np.isfinite(z_of(trace)).sum() == 13


def test_no_token_becomes_markup_in_any_figure(make: Make, attention: Result, text: Result) -> None:
    result = make({"v": values(numbers(8), "<b>", token=HOSTILE)})
    kinds = ("heatmap", "lines", "bars", "table")
    drawn = [figure(attention), figure(text), *(figure(result, Plot(kind, "v", title="<b>")) for kind in kinds)]
    points = make({"v": values(numbers(8, 2), "<b>", which=HOSTILE, side=["<i>", "y"])})
    drawn.append(figure(points, Plot("scatter", "v", x="side", series="which", title="<b>")))
    ours = ("<b>", "</b>", "<br>", "<extra>", "</extra>")
    for one in drawn:
        strings = json.dumps(one.to_plotly_json(), default=str)
        for tag in ours:
            strings = strings.replace(tag, "")
        assert "<img" not in strings
        assert "</script" not in strings
        assert one.layout.title.text in (None, "&lt;b&gt;", "Attention", "Loss")


def test_a_plot_that_does_not_fit_says_what_to_do(make: Make) -> None:
    result = make({"v": values(numbers(2, 3, 4), example=2, layer=3, head=4)})
    with pytest.raises(InputError, match=r"no room for the axis 'example': choose a label with result.sel"):
        figure(result, Plot("heatmap", "v", x="head", y="layer"))


def test_importing_the_room_does_not_import_plotly() -> None:
    code = "import sys, interp.viz; sys.exit('plotly' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rows_of_a_graph_are_named_and_what_an_edge_feeds_stands_at_its_end(make: Make) -> None:
    edges = ["embed->a0.0.q", "embed->a0.0.v", "a0.0->m0", "m0->logits"]
    drawn = figure(make({"e": values(torch.ones(4), edge=edges)}), Plot("graph", "e")).to_plotly_json()
    assert list(drawn["layout"]["yaxis"]["ticktext"]) == ["heads 0", "MLP 0"]
    (ports,) = [trace for trace in drawn["data"] if set(trace.get("text") or ()) == {"q", "v"}]
    (nodes,) = [trace for trace in drawn["data"] if "embed" in (trace.get("text") or ())]
    head = list(nodes["text"]).index("a0.0")
    at = dict(zip(ports["text"], ports["x"]))
    assert at["q"] < nodes["x"][head] < at["v"]
    assert all(y < nodes["y"][head] for y in ports["y"])
    sizes = dict(zip(nodes["text"], nodes["marker"]["size"]))
    assert sizes["embed"] > 6 * len("embed")
    unscored = figure(make({"e": values(torch.ones(4), edge=edges)}), Plot("graph", "e", options={"unscored": True}))
    assert "1.000" not in str(unscored.to_plotly_json()["data"])
