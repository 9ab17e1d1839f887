"""`interp lens` on a task of the hand-built model and on a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from interp.cli import main as command_line
from interp.cli.texts import missing_space
from interp.results import load
from tests.cli.asking import Ask, results_of, rows_under
from tests.tasks.space_tokenizer import space_model


def test_a_task_layer_by_layer(tmp_path: Path, capsys) -> None:
    options = ["--model", "toy/induction", "--task", "toy", "--n", "4", "--out", str(tmp_path)]
    assert command_line.main(["lens", *options]) == 0
    out = capsys.readouterr().out
    assert "difference" in out
    best = next(line for line in out.splitlines() if line.strip().startswith("1.0 "))
    assert best.split()[1] == "10", "the induction head writes the whole difference"
    (folder,) = (tmp_path / "lens").iterdir()
    assert sorted(path.name for path in (folder / "results").iterdir()) == ["component", "head", "lens", "source"]
    assert (folder / "report.html").exists()


def test_a_text_with_target_and_distractor(llama: str, tmp_path: Path, capsys) -> None:
    options = ["--target", "w9", "--distractor", "w8", "--mid", "--out", str(tmp_path)]
    assert command_line.main(["lens", "w5 w6 w7", "--model", llama, *options]) == 0
    out = capsys.readouterr().out
    assert "rank 'w9'" in out
    assert "3 mid" in out
    (folder,) = (tmp_path / "lens").iterdir()
    assert load(folder / "results" / "head").settings["distractor"] == ["w8"]


def test_token_ids_serve_models_without_tokenizer(ask: Ask, tmp_path: Path) -> None:
    out = ask("lens", "0 5 3 7 5 3 7 5", "--ids", "--target", 3, "--distractor", 7)
    assert rows_under(out, "what each head writes")[0][:2] == ["1.0", "10"]
    assert results_of(tmp_path, "lens")["head"].settings["target"] == ["3"]


def test_the_layers_of_a_lens_are_explained(ask: Ask, tmp_path: Path) -> None:
    out = ask("lens", "--task", "toy", "--n", 2)
    assert "layer L enters block L, the last is the output" in out
    (folder,) = (tmp_path / "lens").iterdir()
    assert "0 the embeddings, one past the last block the model" in (folder / "report.html").read_text()


def test_a_target_without_its_space_is_noted() -> None:
    model = space_model(["Paris", "Rome"], more=[("P", "a"), ("Pa", "r"), ("Par", "i"), ("Pari", "s")])
    note = missing_space(model, "The tower is in", "Paris")
    assert note is not None
    assert "' Paris' is a single token too" in note
    assert missing_space(model, "The tower is in", " Paris") is None
    assert missing_space(model, "The tower is in ", "Paris") is None
    assert missing_space(model, "The tower is in", "Rome") is None, "several tokens, which is refused anyway"
    assert missing_space(model, "The tower is in", 3) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "inductoin"], "did you mean 'induction'"),
        (["--target", "w9"], "of a text"),
        (["--ids"], "of a text"),
        (["5 w6", "--ids"], "'w6' is none"),
        (["5 6", "--ids", "--target", "w9"], "'w9' is none"),
        (["w5 w6", "--target", "w9 w8"], "is 2 tokens"),
    ],
)
def test_mistakes_are_one_sentence(llama: str, options: list[str], message: str, tmp_path: Path, capsys) -> None:
    assert command_line.main(["lens", "--model", llama, "--out", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
