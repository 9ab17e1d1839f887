"""`interp look` on a tiny model."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from interp.cli import main as command_line
from interp.cli.answering import as_table
from interp.cli.texts import quoted
from interp.results import load
from tests.cli.asking import Ask, results_of, rows_under


def test_a_look_prints_prediction_and_heads_and_writes_a_page(llama: str, tmp_path: Path, capsys) -> None:
    assert command_line.main(["look", "w5 w6 w7 w5", "--model", llama, "--heads", "3", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    (folder,) = (tmp_path / "look").iterdir()
    seen = load(folder / "results" / "look")
    assert "the model predicts" in out
    assert all(head in out for head in seen.settings["heads"])
    assert repr(seen.texts["target"][0]) in out
    page = (folder / "report.html").read_text()
    assert "A look at: w5 w6 w7 w5" in page
    assert "query_key" in page


def test_token_ids_serve_models_without_tokenizer(ask: Ask, tmp_path: Path) -> None:
    out = ask("look", "0 5 3 7 5 3 7 5", "--ids", "--target", 3)
    assert "heads that write '3'" in out
    assert rows_under(out, "the model predicts")[0][0] == "'3'"
    assert results_of(tmp_path, "look")["look"].texts["tokens"][0][0] == "0"


def test_brackets_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=80).print(as_table(pd.DataFrame({"[red]": [quoted("[bold]"), quoted(" [/x]")]}), "a [title]"))
    out = capsys.readouterr().out
    assert all(words in out for words in ("a [title]", "[red]", "'[bold]'", "' [/x]'"))


def test_a_text_without_tokenizer_is_one_sentence(ask: Ask) -> None:
    assert "so it reads no text; give token ids, as in --ids '0 5 3 5'" in ask("look", "some text", code=2)


def test_the_text_is_required(llama: str, capsys) -> None:
    with pytest.raises(SystemExit):
        command_line.main(["look", "--model", llama])
    assert "text" in capsys.readouterr().err.lower()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["w5"], "at least two tokens"),
        (["w5 w6", "--target", "w7 w8"], "is 2 tokens"),
        (["w5 w6", "--heads", "0"], "heads=0"),
    ],
)
def test_mistakes_are_one_sentence(llama: str, options: list[str], message: str, tmp_path: Path, capsys) -> None:
    assert command_line.main(["look", *options, "--model", llama, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
