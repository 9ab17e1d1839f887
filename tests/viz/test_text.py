from __future__ import annotations

import json
import math
from html.parser import HTMLParser

import pytest
import torch

from interp.viz.text import decimals_for, for_inner_html, for_plotly, paragraphs, rounded, script_json, visible
from tests.viz.conftest import HOSTILE


class Reader(HTMLParser):
    """What an HTML parser makes of a text: its tags and its words."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.tags.append("/" + tag)

    def handle_comment(self, data: str) -> None:
        self.tags.append("!" + data)

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.parametrize("token", [*HOSTILE, "</b>", "<?php", "<![CDATA[", "&lt;", "&#60;b>", "&", "<", "a<b&c;d>e"])
def test_a_token_reads_the_same_as_markup_and_as_text(token: str) -> None:
    written = for_inner_html(token)
    read = Reader(written)
    assert read.tags == []
    assert read.words == written
    assert read.words.replace("\u2060", "").rstrip("\n") == visible(token)


def test_the_reader_would_notice_markup() -> None:
    assert Reader("<b>x</b>").tags == ["b", "/b"]
    assert Reader("&lt;").words == "<"


@pytest.mark.parametrize(
    ("token", "shown"),
    [(" the", " the"), (" ", "·"), ("   ", "···"), ("\n", "↵"), ("\t", "⇥"), ("", "∅"), ("\x07", "�")],
)
def test_white_space_and_controls_are_visible(token: str, shown: str) -> None:
    assert visible(token) == shown


def test_half_characters_and_direction_overrides_are_replaced() -> None:
    assert visible("\ud83d") == "�"
    assert visible("a\u202eb") == "a�b"


def test_plotly_labels_are_escaped_and_cut() -> None:
    assert for_plotly("<b>x") == "&lt;b&gt;x"
    assert for_plotly("abcdefgh", 5) == "abcd…"
    assert for_plotly("") == ""


def test_json_cannot_end_its_script() -> None:
    text = script_json({"tokens": HOSTILE})
    assert "<" not in text
    assert json.loads(text) == {"tokens": HOSTILE}


def test_json_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json([math.nan])


def test_numbers_are_rounded_and_whole_ones_are_short() -> None:
    data = torch.tensor([[0.12345, 1.0], [0.0004, float("nan")]], dtype=torch.bfloat16).double()
    data[0, 0] = 0.12345
    assert script_json(rounded(data)) == "[[0.123,1],[0,null]]"


@pytest.mark.parametrize(("largest", "decimals"), [(1.0, 3), (250.0, 3), (0.02, 4), (3e-6, 8), (0.0, 3), (math.inf, 3)])
def test_small_numbers_keep_three_figures(largest: float, decimals: int) -> None:
    assert decimals_for([0.0, -largest]) == decimals


def test_paragraphs_escape_and_mark_code() -> None:
    assert paragraphs("a <b>\n\n`x<y` c") == "<p>a &lt;b&gt;</p><p><code>x&lt;y</code> c</p>"
    assert paragraphs("one ` tick") == "<p>one ` tick</p>"
