"""`interp weights`, `eigen`, `virtual`, `graph`, `hinton`, `in-context` on the hand-built model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.asking import Ask, results_of, rows_under

TABLES = {
    "weights": ["--parts", "1.0", "--matrices", "QK", "--n", 1, "--words", 1, "--n-random", 2],
    "weights eigen": ["1.0", "--circuits", "QK", "--n-random", 2],
    "weights virtual": ["0.0", "1.0", "--n", 1, "--words", 1, "--pairs", 1, "--n-random", 2],
    "weights graph": ["--kinds", "k"],
    "weights hinton": ["1.0", "QK", "--n", 3],
    "weights in-context": ["1.0", "QK", "--n", 2, "--text", "random"],
    "heads eigenvalues": ["--circuits", "QK"],
}


def test_heads_are_looked_through_and_the_best_are_told(ask: Ask, tmp_path: Path) -> None:
    out = ask("weights", "--n", 2, "--words", 1, "--n-random", 3, "--best", 2)
    assert "4 heads looked through; shown are " in out
    assert len(rows_under(out, "directions whose words")) >= 4
    assert "Of the 2 largest directions of all 4 heads" in out
    assert "reads " in out
    assert "5 % would by chance" in out
    assert "were chosen for this" in out
    found = results_of(tmp_path, "weights")
    assert sorted(found) == ["all_heads", "directions"]
    assert len(found["all_heads"].plots) == 1, "the words of the chosen ones are drawn once"


def test_a_vocabulary_of_few_words_is_said_to_be_too_small(ask: Ask) -> None:
    options = ("--parts", "1.0", "--matrices", "OV", "--n", 2, "--n-random", 3)
    assert "With 13 words in all, the mean of 5 cannot tell" in ask("weights", *options)
    assert "words in all" not in ask("weights", *options, "--words", 1)


def test_parts_are_shown_as_asked(ask: Ask, tmp_path: Path) -> None:
    ask("weights svd", "--parts", "1.0", "--matrices", "OV", "--n", 2, "--words", 1, "--n-random", 3)
    found = results_of(tmp_path, "weights")
    assert list(found) == ["directions"]
    assert found["directions"].values["share"].axis("matrix").labels == ("1.0 OV",)


def test_spectra_of_the_heads_that_copy_most(ask: Ask, tmp_path: Path) -> None:
    out = ask("weights eigen", "--best", 1, "--circuits", "OV", "--n-random", 5)
    (row,) = rows_under(out, "score: sum of eigenvalues")
    assert row[:3] == ["1.0", "OV", "1"]
    assert "mean over words removed" in out
    assert "OV: copying, above all 5 turned circuits: 1.0 (1.00)." in out
    assert sorted(results_of(tmp_path, "weights-eigen")) == ["scores", "spectra"]


def test_virtual_weights_match_words_with_themselves(ask: Ask, tmp_path: Path) -> None:
    out = ask("weights virtual", "0.0", "1.0", "--n", 2, "--words", 1, "--pairs", 3)
    assert "strong like-with-like" in out
    assert "100.0% of " in out
    assert [row[-3:] for row in rows_under(out, "beside 20 random turns of what 0.0 writes")] == [
        ["20", "of", "20"]
    ] * 2
    assert len(rows_under(out, "largest entries")) == 3
    assert list(results_of(tmp_path, "weights-virtual")) == ["virtual"]


def test_the_graph_counts_its_tests(ask: Ask, tmp_path: Path) -> None:
    out = ask("weights graph", "--kinds", "k", "v")
    assert [row[0] for row in rows_under(out, "pairs of heads that pass")] == ["k", "v"]
    assert results_of(tmp_path, "weights-graph")["graph"].settings["kinds"] == ["k", "v"]
    assert "1 of 8 pairs of heads compose" in out
    assert "–: for k, v most pairs of heads leave no spread" in out
    assert "e+13" not in out


def test_a_diagram_between_words_and_of_the_largest_weights(ask: Ask, tmp_path: Path) -> None:
    out = ask("weights hinton", "1.0", "OV", "--words", 0, 1, 2, "--top", 2)
    assert len(rows_under(out, "largest weights")) == 2
    assert results_of(tmp_path, "weights-hinton")["diagram"].settings["words"] == ["0", "1", "2"]
    assert "of the squared norm" in ask("weights hinton", "1.0", "QK", "--n", 4, "--out", tmp_path / "more")


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("command", TABLES)
def test_tables_of_query_key_matrices_say_the_offset(command: str, offset: int, ask: Ask, llama: str) -> None:
    """As in SmolLM2: without --offset the rotation is left out, and that is said."""
    out = ask(command, *TABLES[command], "--offset", offset, model=llama)
    assert ("a key 1 token before the query" if offset else "(offset 0)") in out


def test_weights_with_their_inputs(ask: Ask, tmp_path: Path) -> None:
    out = ask("weights in-context", "1.0", "OV", "--n", 3)
    assert "random tokens, repeated once" in out
    assert "Half of 1.0 OV is carried by so many singular directions: weights alone " in out
    lines = [" ".join(row) for row in rows_under(out, "singular directions, largest first")]
    assert [line.split("  ")[0].rstrip("0123456789 ") for line in lines] == [
        "weights alone",
        "given the inputs",
        "after attention",
        "best directions",
    ]
    assert results_of(tmp_path, "weights-in-context")["in_context"].settings["matrix"] == "1.0 OV"


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("weights", ["--parts", "9.9"], "layer 9 does not exist: the layers are 0 to"),
        ("weights", ["--parts", "m0"], "has no MLP"),
        ("weights", ["--parts", "1.0", "--matrices", "W_in"], "a head has OV and QK; W_in goes with an MLP"),
        ("weights", ["--parts", "1.0", "--offset", 2], "rotary positions only"),
        ("weights eigen", ["1.0", "--circuits", "OVV"], "did you mean 'OV'"),
        ("weights virtual", ["1.0", "0.0"], "name an earlier layer"),
        ("weights graph", ["--kinds", "z"], "there is no kind of composition 'z'"),
        ("weights hinton", ["1.0", "OV", "--words", "99"], "no token id below"),
        ("weights hinton", ["1.0", "W_out"], "a head has OV and QK"),
        ("weights in-context", ["1.0", "OV", "--text", "my.txt"], "has no tokenizer, so it reads no text"),
        ("weights in-context", ["1.0", "OV", "--n", 0], "n=0 leaves no passage"),
        ("weights in-context", ["m20", "OV"], "m20: an MLP has W_in, W_out"),
        ("weights sdv", [], "did you mean 'svd'"),
        ("weights", ["--n", 0], "--n 0 is too few; use at least 1"),
        ("weights", ["--n", 400], "--n 400 is too many; there are 27 here"),
        ("weights", ["--words", 0], "--words 0 is too few"),
        ("weights", ["--n-random", 1], "--n-random 1 is too few; use at least 2"),
        ("weights", ["--best", 0], "--best 0 is too few"),
        ("weights eigen", ["--best", 0], "--best 0 is too few"),
        ("weights eigen", ["--circuits", "W_in"], "a head has OV and QK"),
        ("weights eigen", ["--offset", 1], "rotary positions only"),
        ("weights virtual", ["0.0", "1.0", "--pairs", -1], "--pairs -1 is too few; use at least 0"),
        ("weights virtual", ["0.0", "1.0", "--n", 99], "--n 99 is too many; there are 27 here"),
        ("weights graph", ["--max-edges", 0], "--max-edges 0 is too few"),
        ("weights hinton", ["1.0", "OV", "--top", 0], "--top 0 is too few"),
        ("weights in-context", ["1.0", "OV", "--n-tokens", 0], "--n-tokens 0 is too few"),
        ("weights in-context", ["1.0", "OV", "--directions", 0], "--directions 0 is too few"),
        ("weights in-context", ["1.0", "OV", "--bos"], "has no tokenizer and so no BOS token; leave BOS out"),
    ],
)
def test_mistakes_are_one_sentence_before_any_step(
    command: str, options: list[object], message: str, ask: Ask, tmp_path: Path
) -> None:
    assert message in ask(command, *options, code=2)
    assert not list(tmp_path.rglob("result.json"))


@pytest.mark.parametrize(("command", "heads"), [("weights", []), ("weights virtual", ["0.0", "1.0"])])
def test_small_heads_are_shown_whole(command: str, heads: list[str], ask: Ask) -> None:
    """The usual number of directions is more than the heads of this model have."""
    assert "results:" in ask(command, *heads, "--words", 1, model="toy/linear")
