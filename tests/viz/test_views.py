from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from interp import viz
from interp.errors import InputError
from interp.results import Plot, Result
from interp.viz.pages import fragment, page
from tests.viz.conftest import HOSTILE, TOKENS, causal, numbers, values

Make = Callable[..., Result]
# The first words of each bundle as it is inlined, which occur once in a copy.
BUNDLE = "var CircuitsVis="
LOADS = re.compile(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//|@import|url\(\s*["']?https?:""", re.IGNORECASE)


def data_of(document: str) -> list[dict]:
    """The JSON blocks of a page."""
    return [json.loads(text) for text in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', document)]


def markup(document: str) -> str:
    """A page without what its scripts hold."""
    return re.sub(r"<script(?: [^>]*)?>.*?</script>", "", document, flags=re.DOTALL)


def test_attention_is_rounded_and_compact() -> None:
    made = viz.attention_pattern(torch.tensor([[1.0, 0.0], [0.33349, 0.66651]]), ["a", "b"])
    assert '"attention":[[1,0],[0.333,0.667]]' in made.json
    assert made.props["maskUpperTri"] is True


def test_attention_that_looks_ahead_is_not_masked() -> None:
    assert viz.attention_pattern(torch.full((2, 2), 0.5), ["a", "b"]).props["maskUpperTri"] is False


def test_a_view_is_one_page_with_one_bundle_and_loads_nothing() -> None:
    document = viz.attention_heads(causal(3, 8), HOSTILE, title="<i>Heads</i>").html
    assert document.count(BUNDLE) == 1
    assert not LOADS.search(markup(document))
    assert "default-src 'none'" in document
    assert "<i>" not in markup(document)
    assert data_of(document)[0]["pages"][0][0]["props"]["attentionHeadNames"] == ["H0", "H1", "H2"]


def test_the_search_for_loads_would_find_one() -> None:
    assert LOADS.search('<script src="https://cdn.example/x.js">')
    assert LOADS.search("<link href='//cdn.example/x.css'>")


@pytest.mark.parametrize(
    "made",
    [
        viz.attention_heads(causal(2, 8), HOSTILE),
        viz.attention_pattern(causal(1, 8)[0], HOSTILE),
        viz.colored_tokens(HOSTILE, numbers(8)),
        viz.colored_tokens_multi(HOSTILE, numbers(8, 2), ["<b>", "y"]),
        viz.text_neuron_activations([HOSTILE, TOKENS], [numbers(8, 2, 3), numbers(8, 2, 3)]),
        viz.topk_tokens([HOSTILE], [numbers(2, 8, 3)], k=3),
        viz.query_key(numbers(4, 8, 6), numbers(2, 8, 6), HOSTILE),
    ],
    ids=lambda made: made.data.get("component", made.painter),
)
def test_hostile_tokens_stay_inside_their_data(made: viz.View) -> None:
    piece = made.html_fragment("here")
    inside = re.search(r'<script type="application/json" id="here-data">(.*?)</script>', piece, re.DOTALL)
    assert inside is not None
    assert "<" not in inside[1]
    assert json.loads(inside[1]) == made.data
    assert markup(piece).count("<") == 2  # one closed <div></div>
    assert "<div" in piece
    assert "></div>" in piece


def test_tokens_that_become_html_cannot_open_a_tag() -> None:
    shown = viz.colored_tokens(HOSTILE, numbers(8)).props["tokens"]
    assert not any(re.search(r"<[A-Za-z/!?]|&[A-Za-z#]", token) for token in shown)
    assert shown[4] == "<\u2060|im_start|>"


def test_long_texts_are_cut_and_the_view_says_so() -> None:
    made = viz.attention_heads(causal(2, 200), ["x"] * 200, max_tokens=50)
    assert len(made.props["tokens"]) == len(made.props["attention"][0]) == 50
    assert made.notes == ("Only the first 50 of 200 tokens are shown.",)
    assert made.notes[0] in made.html


def test_heads_beyond_the_size_are_left_out_and_the_view_says_so() -> None:
    everything = viz.attention_heads(causal(30, 20), ["x"] * 20)
    assert everything.notes == ()
    made = viz.attention_heads(causal(30, 20), ["x"] * 20, max_bytes=15_000)
    assert 5 <= len(made.props["attention"]) < 20
    assert len(made.json) < 18_000
    assert "of 30 heads" in made.notes[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: viz.attention_heads(causal(2, 4), ["a"]), "one token per position"),
        (lambda: viz.attention_heads(causal(2, 4)[0], list("abcd")), r"must be \[head, query, key\]"),
        (lambda: viz.attention_heads(causal(2, 4), list("abcd"), ["only one"]), "1 head names"),
        (lambda: viz.colored_tokens(["a", "b"], [1.0]), "one value per token"),
        (lambda: viz.colored_tokens([["a"], ["b"]], [[1.0]]), "2 texts but values for 1"),
        (lambda: viz.colored_tokens_multi(["a"], numbers(1, 2), ["x"]), "need 1 tokens and 2 labels"),
        (lambda: viz.text_neuron_activations(["a"], numbers(2, 1, 1)), "do not fit a text of 1"),
        (lambda: viz.query_key(numbers(4, 3, 5), numbers(3, 3, 5), list("abc")), "evenly"),
        (lambda: viz.query_key(numbers(4, 3, 5), numbers(2, 3, 5), list("ab")), "do not fit"),
        (lambda: fragment('x" onload="y', "plotly", {}, 1), "element id"),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_small_values_are_not_rounded_away() -> None:
    assert viz.colored_tokens(["a", "b"], [1.234e-5, 0.0]).props["values"] == [1.23e-05, 0]


def test_topk_lists_the_largest_and_smallest_tokens() -> None:
    activations = torch.tensor([[[3.0], [-1.0], [2.0], [0.0]]])  # one layer, four tokens, one neuron
    props = viz.topk_tokens([["a", "b", "c", "d"]], [activations], k=2).props
    assert props["topkIdxs"] == [[[[0], [2]]]]
    assert props["topkVals"] == [[[[3], [2]]]]
    assert props["bottomkVals"] == [[[[0], [-1]]]]


def test_query_key_shares_keys_as_grouped_query_attention_does() -> None:
    made = viz.query_key(numbers(6, 3, 4), numbers(2, 3, 4), list("abc"))
    assert [head["group"] for head in made.data["heads"]] == [0, 0, 0, 1, 1, 1]
    assert made.data["scale"] == 0.5
    assert made.data["query"] == 2
    assert BUNDLE not in made.html


def test_a_result_becomes_its_view(attention: Result, text: Result) -> None:
    made = viz.view(attention)
    assert made.title == "Attention"
    assert made.props["attentionHeadNames"] == ["H0", "H1", "H2", "H3"]
    shown = torch.tensor(made.props["attention"])
    assert torch.allclose(shown, attention.values["pattern"].data[0], atol=6e-4)
    items = viz.view(text).data["pages"][0]
    assert [len(item["props"]["values"]) for item in items] == [8, 5]
    assert [item["label"] for item in items] == ["prompt 0", "prompt 1"]


def test_many_heads_get_menus_for_prompts_and_layers(make: Make) -> None:
    data = causal(2 * 3 * 10, 4).reshape(2, 3, 10, 4, 4)
    result = make(
        {"p": values(data, example=2, layer=[17, 18, 23], head=10, query=4, key=4)},
        Plot("attention", "p"),
        texts={"tokens": [list("abcd"), list("xyz")]},
    )
    made = viz.view(result)
    assert made.data["choosers"] == [["prompt", ["prompt 0", "prompt 1"]], ["layer", ["17", "18", "23"]]]
    assert len(made.data["pages"]) == 6
    props = made.data["pages"][5][0]["props"]  # the second prompt's third layer
    assert props["attentionHeadNames"][9] == "L23H9"
    assert props["tokens"] == ["x", "y", "z"]
    assert torch.allclose(torch.tensor(props["attention"][9]), data[1, 2, 9, :3, :3], atol=6e-4)


def test_a_view_of_many_prompts_fits_its_size_by_showing_fewer(make: Make) -> None:
    data = causal(8, 30)[:, None]
    result = make({"p": values(data, example=8, head=1, query=30, key=30)}, texts={"tokens": [["x"] * 30] * 8})
    made = viz.view(result, Plot("attention", "p"), max_bytes=20_000)
    assert len(made.json) < 25_000
    assert "of 8 prompts" in " ".join(made.notes)


def test_narrowing_a_result_narrows_its_tokens(text: Result) -> None:
    made = viz.view(text.sel(example=1))
    assert len(made.props["tokens"]) == 5


def test_the_other_axis_of_a_text_plot_is_a_menu(make: Make) -> None:
    result = make({"v": values(numbers(3, 8), head=["a", "b", "c"], position=8)}, texts={"tokens": [TOKENS]})
    made = viz.view(result, Plot("text", "v"))
    assert made.data["choosers"] == [["head", ["a", "b", "c"]]]
    assert len(made.data["pages"]) == 3


def test_queries_and_keys_of_a_result_become_the_neuron_view(make: Make) -> None:
    q, k = numbers(2, 4, 3, 5), numbers(2, 2, 3, 5)
    named = {"q": values(q, layer=2, head=4, position=3, dim=5), "k": values(k, layer=2, group=2, position=3, dim=5)}
    plot = Plot("attention", "q", options={"view": "query_key", "keys": "k"})
    made = viz.view(make(named, texts={"tokens": [["a", "b", "c"]]}), plot)
    assert [head["name"] for head in made.data["heads"]][5] == "L1H1"
    assert [head["group"] for head in made.data["heads"]] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert torch.allclose(torch.tensor(made.data["q"][5]), q[1, 1], atol=1e-3)
    assert torch.allclose(torch.tensor(made.data["k"][3]), k[1, 1], atol=1e-3)


def test_other_kinds_have_no_view(heatmap: Result) -> None:
    with pytest.raises(InputError, match=r"interp\.viz\.figure"):
        viz.view(heatmap)


def test_prompts_without_tokens_are_refused(make: Make) -> None:
    result = make({"v": values(numbers(2, 3), example=2, position=3)}, texts={"tokens": [["a"], ["b"], ["c"]]})
    with pytest.raises(InputError, match="3 prompts, the values 2"):
        viz.view(result, Plot("text", "v"))


def test_a_notebook_gets_a_frame_with_a_height(attention: Result) -> None:
    made = viz.view(attention)
    frame = made._repr_html_()
    assert re.search(r"height:\d{3,}px", frame)
    source = re.search(r'srcdoc="([^"]*)"', frame)
    assert source is not None
    inside = html.unescape(source[1])
    assert made.html_fragment("view") in inside
    assert data_of(inside) == data_of(made.html)
    assert "interpPacked" in inside
    assert BUNDLE not in inside  # it is packed
    assert not LOADS.search(markup(inside))
    assert frame.count("<") == 2


def test_a_view_is_saved(tmp_path: Path, attention: Result) -> None:
    path = viz.view(attention).save(tmp_path / "deep" / "view.html")
    assert path.read_text(encoding="utf-8") == viz.view(attention).html


def test_inlined_libraries_cannot_end_their_script() -> None:
    document = page("x", "", ["plotly", "circuitsvis", "query_key"])
    scripts = len(re.findall("^<script>", document, re.MULTILINE))
    assert scripts == 4  # plotly, CircuitsVis, our two
    assert len(re.findall(r"</script", document, re.IGNORECASE)) == scripts
    assert "<!--" not in document
    assert "sourceMappingURL" not in document
