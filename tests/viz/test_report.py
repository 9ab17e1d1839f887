from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from interp import viz
from interp.errors import InputError
from interp.results import Plot, Result
from interp.viz import Report, figure
from interp.viz.provenance_notes import WIDTH, laid_out, source_line
from interp.viz.tables import html_table
from tests.viz.conftest import causal, numbers, values
from tests.viz.test_views import BUNDLE, LOADS, data_of, markup

Make = Callable[..., Result]
PLOTLY = "plotly.js v"


def words(document: str) -> str:
    """The text of a page, without its tags."""
    body = markup(document).split("<body>")[1]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


def test_each_library_is_inlined_once_however_many_views(heatmap: Result, attention: Result, text: Result) -> None:
    document = Report("T").add(heatmap).add(heatmap).add(attention).add(text).html
    assert document.count(BUNDLE) == 1
    assert document.count(PLOTLY) == 1
    assert not LOADS.search(markup(document))
    assert len(data_of(document)) == 4


def test_libraries_nobody_uses_stay_out(heatmap: Result, attention: Result) -> None:
    assert BUNDLE not in Report("T").add(heatmap).html
    assert PLOTLY not in Report("T").add(attention).html
    assert len(Report("T").section("Empty", "Nothing yet.").html) < 30_000


def test_everything_is_numbered_and_captioned(heatmap: Result, attention: Result) -> None:
    report = Report("Title", "Subtitle.").section("First", "About `x`.").add(heatmap)
    report.section("Second").add(attention).add(heatmap.top(3), caption="The three strongest.")
    text = words(report.html)
    assert "Figure 1. A map. Caveat. Made up." in text
    assert "Figure 2. Where heads look." in text
    assert "Table 1. The three strongest." in text
    assert (
        report.html.index('id="section-1"') < report.html.index('id="figure-1"') < report.html.index('id="section-2"')
    )
    assert '<a href="#section-2">' in report.html


def test_captions_can_be_replaced_and_one_plot_chosen(heatmap: Result) -> None:
    table = Plot("table", "effect", x="position", y="layer", caption="As a table.")
    text = words(Report("T").add(heatmap, plot=table).add(heatmap, "Mine.", "Beware.", plot=0).html)
    assert "Table 1. As a table." in text
    assert "Figure 1. Mine. Caveat. Beware." in text
    assert "A map." not in text


def test_nothing_is_taken_as_markup(make: Make) -> None:
    bad = "<img src=x onerror=alert(1)>"
    result = make(
        {"v": values(numbers(2), bad, head=[bad, "b"])},
        Plot("bars", "v", x="head", title=bad, caption=bad, caveat=bad),
        Plot("table", "v", caption=bad),
    )
    report = Report(bad, bad).headline([(bad, bad, 1, bad, bad)], title=bad).section(bad, bad).add(result)
    report.section(bad).add(pd.DataFrame({bad: [bad]}), caption=bad)
    assert "<img" not in report.html
    assert markup(report.html).count("&lt;img") >= 12


def test_provenance_stands_at_both_ends(heatmap: Result) -> None:
    text = words(Report("T").add(heatmap).add(heatmap, plot=0).html)
    top, _, end = text.partition("Figure 1.")
    for fact in ("made/up", "task ioi", "seed 3", "torch 2.13.0", "code 012345678", "2026-01-01"):
        assert fact in top
    assert "&quot;steps&quot;: 5" in end
    assert end.count("&quot;steps&quot;") == 1  # a result added twice is one result


def test_headline_rows_may_be_short_and_numbers_are_readable() -> None:
    rows = [("loss", 3.2678, 8, (3.1, 3.4), "nats"), ("accuracy", 0.5), ("prompts", 12000)]
    text = words(Report("T").headline(rows).html)
    assert "loss 3.27 [3.1, 3.4] 8 nats accuracy 0.5 prompts 12,000" in text
    assert "95 % interval" not in words(Report("T").headline([("a", 1.0)]).html)
    with pytest.raises(InputError, match="not 7 things"):
        Report("T").headline([(1, 2, 3, 4, 5, 6, 7)])


def test_headline_numbers_say_what_they_are_of_and_why_they_have_no_interval() -> None:
    rows = [("loss", 3.0, 8, (3.1, 3.4), "nats", "prompts"), ("score", 0.5, 3, (float("nan"),) * 2, "", "draws")]
    text = words(Report("T").headline(rows).html)
    assert "loss 3 [3.1, 3.4] 8 prompts nats score 0.5 – 3 draws" in text
    assert "–: no interval, since fewer than 5 are too few for one." in text
    assert "no interval" not in words(Report("T").headline(rows[:1]).html)


def test_headlines_come_first_wherever_they_are_called(heatmap: Result) -> None:
    document = Report("T").section("S").add(heatmap).headline([("a", 1.0)]).html
    assert document.index("Headline numbers") < document.index('id="section-1"')


def test_a_table_of_numbers_stands_on_the_right_and_says_what_is_missing() -> None:
    frame = pd.DataFrame({"name": ["a"] * 70, "value": [-1234.5678] * 70})
    text = html_table(frame)
    assert "<td class=n>−1,235</td>" in text
    assert "<td>a</td>" in text
    assert "10 more rows are not shown." in text


def test_figures_views_and_frames_can_be_added_by_themselves(heatmap: Result, attention: Result) -> None:
    report = Report("T").add(figure(heatmap), "A figure.").add(viz.view(attention), "A view.").add(heatmap.top(2))
    assert "Figure 1. A figure." in words(report.html)
    assert "Figure 2. A view." in words(report.html)
    with pytest.raises(InputError, match="cannot show a int"):
        report.add(3)


def test_a_result_without_plots_shows_its_largest_values(make: Make) -> None:
    text = words(Report("T").add(make({"v": values(torch.tensor([1.0, -7.5]), head=2)})).html)
    assert "Table 1. The largest values" in text
    assert "−7.5" in text


def test_a_page_stays_small_and_says_what_it_left_out(make: Make) -> None:
    data = causal(9 * 4, 48).reshape(4, 9, 48, 48)
    result = make({"p": values(data, layer=4, head=9, query=48, key=48)}, Plot("attention", "p", caption="C."))
    report = Report("T", max_bytes=6_700_000)
    for _ in range(4):
        report.add(result)
    document = report.html
    assert len(document) < 6_700_000
    assert "heads are shown, to keep the page small" in words(document)
    assert "was left out to keep the page small" in words(document)
    assert "Figure 4. C." in words(document)


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heatmap: Result) -> None:
    path = tmp_path / "runs" / "report.html"
    assert Report("Old").write(path) == path
    old = path.read_bytes()

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", no_space)
    with pytest.raises(OSError, match="disk is full"):
        Report("New").add(heatmap).write(path)
    assert path.read_bytes() == old
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_half_a_character_does_not_stop_the_page(tmp_path: Path, make: Make) -> None:
    result = make({"v": values(torch.ones(2), token=["\ud83d", "b"])}, Plot("table", "v"))
    assert "�" in Report("half \ud83d").add(result).write(tmp_path / "r.html").read_text(encoding="utf-8")


def test_the_abstract_stands_first_whenever_it_is_written() -> None:
    report = Report("T").headline([("a", 1.0)]).section("One", "Here.").abstract("Found `x`.\n\nAnd y.")
    text = words(report.abstract("Last [1.5, −2e-05] word.").omitted("No texts.").omitted("No texts.").html)
    order = ["Found x .", "And y.", "Last [1.5, −2e-05] word.", "Headline numbers", "No texts.", "Here."]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert text.count("No texts.") == 1


def test_intervals_do_not_break(heatmap: Result) -> None:
    report = Report("T").section("S", "Here [1, 2].").add(heatmap, "Between [−0.5, 1e-05].", "Only [3, 4].")
    report.add(pd.DataFrame({"a": ["9.95 [9.55, 10.3]", "no number"], "b": ["[x, y]", "[1]"]}), caption="C.")
    found = re.findall(r'<span class="interval">(.*?)</span>', report.html)
    assert found == ["[1, 2]", "[−0.5, 1e-05]", "[3, 4]", "[9.55, 10.3]"]
    assert ".interval { white-space: nowrap; }" in report.html


def test_what_differs_between_results_is_said_in_short(make: Make) -> None:
    """One line names what most results have, and the tasks; the rest stands at the end."""
    results = []
    for i, (model, task) in enumerate([("big", "ioi"), ("big", "ioi"), ("small", "agreement")]):
        result = make({"v": values(numbers(2), head=2)}, Plot("bars", "v", x="head"))
        source = replace(result.provenance, model={"id": model}, task={"name": task, "n": 10 * i}, seed=i)
        results.append(replace(result, provenance=source))
    line = re.sub(r"<[^>]*>", "", source_line(results))
    assert line.startswith("big and others tasks ioi, agreement seeds 0, 1, 2 ")
    assert "prompt pairs" not in line


def test_a_caveat_is_given_once(heatmap: Result, attention: Result) -> None:
    report = Report("T").add(heatmap).add(attention, "C.", "Other.").add(heatmap).add(heatmap, "C.", "Other.")
    text = words(report.html)
    assert text.count("Made up.") == 1
    assert "Figure 3. A map. Caveat. As under Figure 1." in text
    assert "Figure 4. C. Caveat. As under Figure 2." in text


def test_settings_fill_lines() -> None:
    settings = {"draws": [[f"{i}.{j}" for j in range(8)] for i in range(6)], "n": 3, "heads": list(range(200)), "e": {}}
    text = laid_out({"settings": settings, "task": {}})
    assert json.loads(text) == {"settings": settings, "task": {}}
    assert max(map(len, text.splitlines())) <= WIDTH + 2
    assert len(text.splitlines()) < 30
    assert '    "n": 3,' in text.splitlines()


def test_a_section_with_nothing_in_it_is_left_out() -> None:
    report = Report("T").section("One", "Here.").section("Empty").section("Blank", "\n\n").section("Two", "There.")
    document = report.html
    assert "Empty" not in document
    assert "Blank" not in document
    assert document.count('<section id="section-') == 2
    assert document.count('<li><a href="#section-') == 2
    assert 'id="section-2"><h2><span class="number">2</span>Two' in document
