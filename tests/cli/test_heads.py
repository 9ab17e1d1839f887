"""`interp heads` on a tiny model and on the hand-built one."""

from __future__ import annotations

from pathlib import Path

import pytest

from interp.cli import main as command_line
from interp.results import load
from tests.cli.asking import Ask, results_of, rows_under


def test_the_best_heads_are_printed_and_everything_is_kept(llama: str, tmp_path: Path, capsys) -> None:
    options = ["--n", "2", "--length", "6", "--prefix-matching", "--bos", "--views", "1"]
    code = command_line.main(["heads", "--model", llama, "--out", str(tmp_path), *options])
    out = capsys.readouterr().out
    assert code == 0
    for title in ("previous heads", "duplicate heads", "induction heads", "loss of each copy", "prefix matching"):
        assert title in out
    assert "without repetition" in out
    (folder,) = (tmp_path / "heads").iterdir()
    assert str(folder) in out
    assert (folder / "report.html").exists()
    stored = load(folder / "results" / "scores")
    assert stored.settings["length"] == 6
    assert stored.settings["prepend_bos"] is True


def test_a_text_of_ones_own(llama: str, tmp_path: Path, capsys) -> None:
    file = tmp_path / "words.txt"
    file.write_text("w5 w6 w7 w5 w6 w7")
    code = command_line.main(["heads", "--model", llama, "--text", str(file), "--out", str(tmp_path), "--views", "0"])
    assert code == 0
    assert "without repetition" not in capsys.readouterr().out


def test_a_model_without_tokenizer_and_with_a_short_context(ask: Ask, tmp_path: Path) -> None:
    out = ask("heads scores", "--n", 2, "--prefix-matching", "--views", 0)
    assert "2 prompts of 13 random tokens, repeated once" in out
    assert "(Olsson et al. 2022; 6 tokens, four times; at most 0.5)" in out
    assert rows_under(out, "induction heads")[0][0] == "1.0"
    stored = results_of(tmp_path, "heads")
    assert stored["scores"].settings["length"] == stored["loss"].settings["length"] == 13


def test_token_ids_of_ones_own(ask: Ask, tmp_path: Path) -> None:
    out = ask("heads", "--text", "0 5 3 7 5 3", "--ids", "--kinds", "induction", "--views", 0)
    assert rows_under(out, "induction heads")[0][:2] == ["1.0", "1"]
    assert results_of(tmp_path, "heads")["scores"].settings["prompts"] == "given"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--length", "14"], "use length=13 or less"),
        (["--text", "w5 w6 w5"], "has no tokenizer, so it reads no text; give token ids, as in --ids '0 5 3 5'"),
        (["--text", "3 x 3", "--ids"], "'x' is none"),
        (["--text", "3 99 3", "--ids"], "token id 99 is outside"),
        (["--bos"], "has no tokenizer"),
    ],
)
def test_mistakes_with_a_toy_are_one_sentence(options: list[str], message: str, ask: Ask) -> None:
    assert message in ask("heads", *options, code=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text", "w5 w6 w7"], "occurs twice"),
        (["--text", "nowhere.txt"], "cannot read nowhere.txt"),
        (["--kinds", "inducton"], "did you mean 'induction'"),
        (["--length", "500"], "use length="),
    ],
)
def test_mistakes_are_one_sentence(llama: str, options: list[str], message: str, tmp_path: Path, capsys) -> None:
    assert command_line.main(["heads", "--model", llama, "--out", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
