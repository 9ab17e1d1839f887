"""`interp probe erase`, `steer` and `align` on a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest

from interp.cli import main as command_line
from interp.cli.causal_probing import given_answers
from interp.errors import InputError
from interp.results import load
from tests.cli.labelled_texts import save_labelled

QUICK = ["--layers", "1", "--test", "12", "--random", "5", "--text", "random"]
ANSWERS = ["--answers", "even=w5,w7", "odd=w8"]


@pytest.fixture
def labels(tmp_path: Path) -> str:
    """60 texts of words, labelled by the last one."""
    return save_labelled(tmp_path / "labels.jsonl", 60)


@pytest.mark.parametrize(
    ("command", "more", "columns"),
    [
        (
            "erase",
            ["--methods", "leace"],
            ("effect", "as far", "p (as far)", "still right", "text KL", "linear before", "perceptron"),
        ),
        ("steer", ["--strengths", "1"], ("effect", "random", "turned", "text KL")),
        ("align", ["--pairs", "24", "--epochs", "1"], ("learnt", "whole state", "kept", "fitted, arbitrary")),
    ],
)
def test_effects_are_printed_beside_their_controls(
    command: str, more: list[str], columns: tuple[str, ...], llama: str, labels: str, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "runs"
    given = ["probe", command, "--model", llama, "--data", labels, "--out", str(out), *QUICK, *ANSWERS, *more]
    assert command_line.main(given) == 0
    printed = capsys.readouterr().out
    assert "60 examples in" in printed
    assert "answers even: w5, w7; odd: w8" in printed
    assert "left alone, the model prefers the right answer" in printed
    for column in columns:
        assert column in printed
    (folder,) = (out / f"probe-{command}").iterdir()
    assert "unrelated" in (folder / "report.html").read_text()
    (step,) = (folder / "results").iterdir()
    assert load(step).values["effect"].axis("layer").labels == (1,)


def test_without_answers_effects_are_kl_and_the_command_says_so(
    llama: str, labels: str, tmp_path: Path, capsys
) -> None:
    given = ["probe", "steer", "--model", llama, "--data", labels, "--out", str(tmp_path / "runs"), "--strengths", "1"]
    assert command_line.main([*given, *QUICK]) == 0
    printed = capsys.readouterr().out
    assert "effect on answers (nats)" in printed
    assert "has no answers by which the model says a class" in printed


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("align", [], "has none; give answers="),
        ("erase", ["--layers", "9"], "layer 9 of 'resid_post' does not exist"),
        ("erase", ["--max-rank", "60"], "max_rank=60 does not fit"),
        ("erase", ["--after", " so"], "--after is for answers"),
        ("steer", ["--answers", "even"], "'even' is no answer"),
        ("steer", ["--probe", "mlp"], "no direction 'mlp'"),
        ("align", ["--rank", "49", *ANSWERS], "rank=49 does not fit"),
    ],
)
def test_mistakes_are_one_sentence(
    command: str, options: list[str], message: str, llama: str, labels: str, tmp_path: Path, capsys
) -> None:
    given = ["probe", command, "--model", llama, "--data", labels, "--out", str(tmp_path / "runs"), *QUICK, *options]
    assert command_line.main(given) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_answers_are_read_from_the_command_line() -> None:
    found = given_answers(["a=is, was", "b=are"], " and")
    assert found is not None
    assert dict(found.of) == {"a": (" is", " was"), "b": (" are",)}
    assert found.after == " and"
    assert given_answers([], "") is None
    with pytest.raises(InputError, match="'a=' is no answer"):
        given_answers(["a="], "")
