"""`interp heads` on a tiny model and on the hand-built one."""

from __future__ import annotations

from pathlib import Path

import pytest

from interp.cli import main as command_line
from interp.results import load


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A directory with a tiny model, as `save_pretrained` leaves it."""
    from tests.cli.saved_models import save_tiny_llama

    return save_tiny_llama(tmp_path_factory.mktemp("llama"))


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
