"""Pages as a browser without a network draws them, and proof that a broken page would be noticed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from interp import viz
from interp.errors import InputError
from interp.results import Plot, Result
from interp.viz import Report, check_page, screenshot
from tests.viz.conftest import HOSTILE, TOKENS, numbers, values

Make = Callable[..., Result]


@pytest.fixture
def report(tmp_path: Path, make: Make, attention: Result, text: Result, heatmap: Result) -> Path:
    """A page with every kind of figure, and tokens that try to break it."""
    neurons = make(
        {
            "q": values(numbers(2, 8, 6), head=2, position=8, dim=6),
            "k": values(numbers(1, 8, 6), group=1, position=8, dim=6),
            "v": values(numbers(8), token=HOSTILE),
            "e": values(numbers(3).abs() + 0.1, edge=["embed->a0.1.q", "a0.1->m1", "m1->logits"]),
        },
        Plot("attention", "q", options={"view": "query_key", "keys": "k"}),
        Plot("lines", "v", x="token"),
        Plot("bars", "v", x="token"),
        Plot("graph", "e"),
        Plot("table", "v"),
        texts={"tokens": [HOSTILE]},
    )
    made = Report("A page").headline([("number", 1.5)])
    for result in (heatmap, attention, text, neurons):
        made.section("Section").add(result)
    return made.write(tmp_path / "report.html")


@pytest.mark.browser
def test_a_report_draws_everything_and_asks_for_nothing(report: Path) -> None:
    seen = check_page(
        report, selectors={"bold": ".colored-tokens b, .colored-tokens img", "zoomed": ".AttentionHeads h2"}
    )
    assert seen.errors == ()
    assert seen.outside == ()
    assert seen.counts["views"] == 7
    assert seen.counts["failed"] == 0
    assert seen.counts["heatmaps"] == 1
    assert seen.counts["plotly"] >= 4
    assert seen.counts["zoomed"] == 1
    # Four small patterns and a large one, and a strip for the query, every key and every product.
    assert seen.counts["canvases"] == seen.counts["painted"] == 5 + 1 + 8 + 8
    assert seen.counts["tokens"] == 8 + 5
    assert seen.counts["bold"] == 0


@pytest.mark.browser
def test_hostile_tokens_are_read_as_they_are(report: Path) -> None:
    shown = check_page(report).text.replace("\u2060", "").replace("\u00a0", " ")
    for token in (" </script><b>x", "<img src=x onerror=alert(1)>", "&amp;", "<|im_start|>"):
        assert token.strip() in shown


@pytest.mark.browser
@pytest.mark.parametrize(
    "made",
    [
        viz.attention_pattern(numbers(8, 8).softmax(-1), HOSTILE),
        viz.colored_tokens_multi(TOKENS, numbers(8, 2), ["<b>", "y"]),
        viz.text_neuron_activations([HOSTILE, TOKENS], [numbers(8, 2, 3), numbers(8, 2, 3)]),
        viz.topk_tokens([HOSTILE], [numbers(2, 8, 3)], k=3),
    ],
    ids=lambda made: made.data["component"],
)
def test_every_component_draws_its_page(made: viz.View, tmp_path: Path) -> None:
    seen = check_page(made.save(tmp_path / "view.html"), selectors={"inside": ".stage *"})
    assert (seen.errors, seen.outside, seen.counts["failed"]) == ((), (), 0)
    assert seen.counts["inside"] >= 4
    assert seen.counts["painted"] == seen.counts["canvases"] == (made.data["component"] == "AttentionPattern")


@pytest.mark.browser
def test_views_in_a_notebook_stand_side_by_side(tmp_path: Path, attention: Result, text: Result) -> None:
    frames = viz.view(attention)._repr_html_() + viz.view(text)._repr_html_()
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><meta charset=utf-8>{frames}", encoding="utf-8")
    drawn = "[0, 1].every((i) => frames[i].document.querySelector('[data-state=drawn]'))"
    inside = "frames[0].document.querySelectorAll('canvas').length === 5 && "
    inside += "frames[1].document.querySelectorAll('.colored-tokens > span').length === 13"
    seen = check_page(path, wait=f"{drawn} && {inside}")
    assert seen.errors == ()
    assert seen.outside == ()


@pytest.mark.browser
def test_figures_far_down_are_drawn_when_one_scrolls_there(tmp_path: Path, heatmap: Result) -> None:
    made = Report("Long")
    for _ in range(7):
        made.add(heatmap)
    path = made.write(tmp_path / "long.html")
    drawn = "[...document.querySelectorAll('[data-state=drawn]')].length"
    first = check_page(path, draw=False, wait=f"{drawn} > 0", selectors={"drawn": "[data-state]"})
    assert 1 <= first.counts["drawn"] < 7
    scrolled = "(scrollTo({top: document.body.scrollHeight, behavior: 'instant'}), "
    scrolled += "document.querySelector('#view-7').dataset.state === 'drawn')"
    assert check_page(path, draw=False, wait=scrolled).errors == ()


BREAKS = {
    "a component that is not there": ('"component":"AttentionHeads"', '"component":"AttentionTails"'),
    "properties of the wrong shape": ('"attention":[[[', '"attentoin":[[['),
    "data that are no JSON": ('{"component"', "{component"),
    "a script that throws": ("</body>", "<script>null.x</script></body>"),
    "an outside picture": ("</body>", '<img src="http://198.51.100.7/x.png"></body>'),
    "an outside script": ("<title>", '<script src="https://cdn.example.org/x.js"></script><title>'),
}


@pytest.mark.browser
@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_page_is_noticed(name: str, tmp_path: Path, attention: Result) -> None:
    good = viz.view(attention).html
    before, after = BREAKS[name]
    assert before in good
    path = tmp_path / "broken.html"
    path.write_text(good.replace(before, after, 1), encoding="utf-8")
    seen = check_page(path)
    assert seen.errors
    if "outside" in name:
        assert any("198.51.100.7" in address or "cdn.example.org" in address for address in seen.outside)
    elif "throws" not in name:
        assert seen.counts["painted"] == 0


@pytest.mark.browser
def test_a_request_is_seen_even_where_no_policy_forbids_it(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text('<!doctype html><img src="http://198.51.100.7/x.png"><script>fetch("other.json")</script>')
    outside = check_page(path).outside
    assert any("198.51.100.7" in address for address in outside)
    assert any("other.json" in address for address in outside)


@pytest.mark.browser
def test_an_empty_canvas_does_not_count_as_painted(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("<!doctype html><canvas width=20 height=20></canvas>")
    counts = check_page(path).counts
    assert (counts["canvases"], counts["painted"]) == (1, 0)


@pytest.mark.browser
def test_a_screenshot_shows_the_page(tmp_path: Path, heatmap: Result) -> None:
    page = Report("Seen").add(heatmap).write(tmp_path / "report.html")
    picture = screenshot(page, tmp_path / "shots" / "report.png", 640, 500)
    assert size_of(picture) == (640, 500)
    assert {(143, 45, 4), (8, 62, 125)} & colours_of(picture)  # an end of the diverging scale
    whole = size_of(screenshot(page, tmp_path / "whole.png", width=640))
    assert whole[0] == 640
    assert whole[1] > 500


@pytest.mark.browser
def test_a_picture_waits_for_what_grows_into_place(tmp_path: Path) -> None:
    page = tmp_path / "growing.html"
    page.write_text(
        """<!doctype html><body style="margin:0"><canvas width="40" height="40"></canvas><script>
        const context = document.querySelector('canvas').getContext('2d');
        let step = 0;
        setInterval(() => {
          if (step++ >= 12) return;
          context.fillStyle = `rgb(${step}, 0, 0)`;
          context.fillRect(0, 0, 40, 40);
        }, 100);
        </script>"""
    )
    assert colours_of(screenshot(page, tmp_path / "grown.png", 40, 40)) == {(12, 0, 0)}


@pytest.mark.browser
def test_a_picture_of_a_long_page_holds_all_of_it(tmp_path: Path) -> None:
    stripes = [(9 * i, 250 - 9 * i, 7) for i in range(20)]
    page = tmp_path / "long.html"
    blocks = "".join(f'<div style="height:1000px;background:rgb{colour}"></div>' for colour in stripes)
    page.write_text(f'<!doctype html><body style="margin:0">{blocks}')
    picture = screenshot(page, tmp_path / "long.png", width=40)
    assert size_of(picture) == (40, 20_000)
    pixels = pixels_of(picture)
    assert [pixels[(1000 * i + 500) * 40 + 20] for i in range(20)] == stripes


def test_a_page_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no page"):
        check_page(tmp_path / "missing.html")


def test_without_a_browser_the_error_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    page = tmp_path / "page.html"
    page.write_text("<!doctype html>")
    with pytest.raises(InputError, match="install one of chromium"):
        check_page(page)


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a PNG."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def colours_of(path: Path) -> set[tuple[int, int, int]]:
    """The colours of an 8-bit RGB or RGBA picture."""
    return set(pixels_of(path))


def pixels_of(path: Path) -> list[tuple[int, int, int]]:
    """The pixels of an 8-bit RGB or RGBA picture, row by row."""
    data = path.read_bytes()
    depth, kind = data[24:26]
    assert depth == 8
    at, packed = 8, b""
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            packed += data[at + 8 : at + 8 + length]
        at += 12 + length
    return _pixels(zlib.decompress(packed), *size_of(path), {2: 3, 6: 4}[kind])


def _pixels(rows: bytes, width: int, height: int, channels: int) -> list[tuple[int, int, int]]:
    """Undo the row filters (PNG specification, section 9)."""
    stride, above, out = width * channels, bytearray(width * channels), []
    for y in range(height):
        start = y * (stride + 1)
        row = bytearray(rows[start + 1 : start + 1 + stride])
        for i in range(stride):
            left = row[i - channels] if i >= channels else 0
            corner = above[i - channels] if i >= channels else 0
            row[i] = (row[i] + _predicted(rows[start], left, above[i], corner)) & 255
        out += [tuple(row[i : i + 3]) for i in range(0, stride, channels)]
        above = row
    return out  # type: ignore[return-value]


def _predicted(kind: int, left: int, up: int, corner: int) -> int:
    if kind < 4:
        return (0, left, up, (left + up) // 2)[kind]
    estimate = left + up - corner
    return min((left, up, corner), key=lambda value: abs(estimate - value))
