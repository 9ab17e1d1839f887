"""`interp similarity` on the hand-built model, on a saved one, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from interp.cli import main as command_line
from interp.similarity import MEASURES, SimilarityMap, summary
from tests.cli.asking import Ask, results_of, rows_under

SMALL = ("--n", 8, "--n-tokens", 7, "--permutations", 19)


@pytest.fixture
def prose(tmp_path: Path) -> str:
    folder = tmp_path / "prose"
    folder.mkdir()
    for i in range(6):
        words = " ".join(f"w{(7 * i + j * j) % 90 + 5}" for j in range(40))
        (folder / f"{i}.txt").write_text(words)
    return str(folder)


def test_layers_of_the_toy(ask: Ask, tmp_path: Path) -> None:
    out = ask("similarity", *SMALL)
    assert "8 texts of 7 random tokens" in out
    assert "note: First positions are left out" in out
    found = results_of(tmp_path, "similarity")["similarity"]
    assert isinstance(found, SimilarityMap)
    assert found.settings["n"] == 48
    assert found.map.diagonal().tolist() == pytest.approx([1.0] * len(found.map))
    for sentence in summary(found):
        assert sentence in out
    assert "each layer with the next (layer L: stream entering block L)" in out
    (folder,) = (tmp_path / "similarity").iterdir()
    page = (folder / "report.html").read_text()
    assert "how alike the representations" in page.lower()
    assert page.index("The largest drop") < page.index("Figure 1")
    assert "Table 1" not in page, "the map comes first"


def test_a_model_and_its_untrained_twin(ask: Ask, llama: str, prose: str, tmp_path: Path) -> None:
    out = ask("similarity", "--other", "untrained", "--text", prose, *SMALL, model=llama)
    assert "6 passages of 7 tokens" in out
    assert len(rows_under(out, "cka over 36 tokens of 6 texts: both models at the same layer")) == 5
    found = results_of(tmp_path, "similarity")["similarity"]
    assert "untrained (seed 0)" in found.provenance.model["other"]["id"]


@pytest.mark.parametrize(
    ("measure", "own"),
    [("svcca", ["--variance", 0.5]), ("procrustes", []), ("rsa", ["--distance", "cosine"]), ("mutual_knn", ["--k", 3])],
)
def test_other_measures_and_sites(
    ask: Ask, llama: str, prose: str, measure: str, own: list[object], tmp_path: Path
) -> None:
    options = ["--measure", measure, "--site", "mlp_out", *own, "--permutations", 5]
    ask("similarity", "--text", prose, "--n-tokens", 21, *options, model=llama)
    found = results_of(tmp_path, "similarity")["similarity"]
    assert found.settings["measure"] == measure
    assert found.map.shape == (4, 4)


def test_words_and_streams(ask: Ask, llama: str, prose: str) -> None:
    out = ask("similarity", "--text", prose, "--align", "word", "--n-tokens", 30, *SMALL[4:], model=llama)
    assert "passages of 18 words" in out
    assert "words of 6 texts" in out
    out = ask("similarity", "--text", prose, "--minibatch", 32, "--n-tokens", 21, model=llama)
    assert "4 minibatches of 32 tokens, the last of 24" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--other", "untrained"], "built by hand"),
        (["--measure", "rsa", "--minibatch", 16], "leave it out for other measures"),
        (["--k", 3], "--k is an option of mutual_knn"),
        (["--site", "mlp_post"], "no site 'mlp_post'"),
        (["--n", 2, "--permutations", 10], "2 are too few"),
        (["--n", 2, "--permutations", -3], "--permutations) is a number of draws, 0 for none, not -3"),
        (["--kernel", "rbf", "--bandwidth", 0], "bandwidth=0 is no width"),
        (["--bandwidth", 0.5], "give --kernel rbf too"),
        (["--measure", "mutual_knn", "--k", 300], "more than 301 tokens, not 240"),
        (["--minibatch", 16, "--permutations", 9], "(--permutations) out, or minibatch"),
        (["--n-tokens", 1], "--n-tokens 1: the first token of a text is left out"),
        (["--text", "/nowhere.txt"], "there are no texts at /nowhere.txt"),
        (["--n", 1], "--n 1: one text is too few, since tokens of a text resemble each other; give --n 2"),
        (["--metric", "euclidean"], "--metric is an option of mutual_knn"),
        (["--align", "word"], "needs texts"),
    ],
)
def test_mistakes_are_one_sentence(ask: Ask, options: list[str], message: str) -> None:
    assert message in ask("similarity", "--n-tokens", 7, *options, code=2)


@pytest.mark.parametrize("n", [2, 3])
def test_two_or_three_texts_are_compared_without_intervals(ask: Ask, n: int, tmp_path: Path) -> None:
    out = ask("similarity", "--n", n, "--n-tokens", 20)
    assert f"No intervals and no permutation test: {n} documents are too few for any; give 5 texts" in out
    assert "low" not in results_of(tmp_path, "similarity")["similarity"].values


def test_a_single_file_is_one_text(ask: Ask, llama: str, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("w5 w6 w7 " * 30)
    assert "give a folder of 2 .txt files" in ask("similarity", "--text", tmp_path / "one.txt", model=llama, code=2)


def test_every_measure_is_named_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_line.main(["similarity", "--help"])
    text = capsys.readouterr().out
    examples = text[: text.index("Layer L is")]
    assert all(name in examples for name in ({*MEASURES} - {"cka"}) | {"CKA", "biased", "rbf", "document"})


def test_what_is_refused_is_refused_before_the_model_is_read(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp.cli.answering.load_model", lambda *_, **__: pytest.fail("the model was read"))
    ask("similarity", "--n", 1, code=2)
    ask("similarity", "--k", 3, code=2)
    for options in (["--permutations", -1], ["--minibatch", 4], ["--text", "/nowhere"], ["--measure", "svcca"]):
        more = ["--variance", 2] if "svcca" in options else []
        ask("similarity", *options, *more, code=2)
