"""`interp similarity` on the hand-built model, on a saved one, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from interp.similarity import SimilarityMap
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
    (folder,) = (tmp_path / "similarity").iterdir()
    assert "how alike the representations" in (folder / "report.html").read_text().lower()


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
    assert "3 minibatches of 32 tokens" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--other", "untrained"], "built by hand"),
        (["--measure", "rsa", "--minibatch", 16], "leave it out for other measures"),
        (["--k", 3], "--k is an option of mutual_knn"),
        (["--site", "mlp_post"], "no site 'mlp_post'"),
        (["--n", 2, "--permutations", 10], "2 are too few"),
        (["--align", "word"], "needs texts"),
    ],
)
def test_mistakes_are_one_sentence(ask: Ask, options: list[str], message: str) -> None:
    assert message in ask("similarity", "--n-tokens", 7, *options, code=2)
