"""`interp probe erase`, `steer` and `align` on a tiny model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from interp.cli import main as command_line
from interp.cli import probe_align
from interp.cli.causal_probing import given_answers, shortened
from interp.errors import InputError
from interp.probing import parts
from interp.results import load
from tests.cli.asking import rows_under
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
            ("effect", "as far", "p (as far)", "still right", "text KL", "linear before", "perceptron", "Erasing "),
        ),
        ("steer", ["--strengths", "1"], ("effect", "random", "turned", "text", "Moving states at layer 1 ")),
        (
            "align",
            ["--pairs", "24", "--epochs", "1"],
            ("before", "learnt", "whole state", "kept", "fitted, arbitrary", "Exchanging 1 learnt dimension "),
        ),
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
    page = (folder / "report.html").read_text()
    assert "unrelated" in page
    in_short = page.split("In short</h2>")[1].split("</div>")[0]
    assert re.match(r'<div class="text"><p>(Erasing|Moving|Exchanging) ', in_short), "the finding comes first"
    (step,) = (folder / "results").iterdir()
    assert load(step).values["effect"].axis("layer").labels == (1,)


def test_without_answers_effects_are_kl_and_the_command_says_so(
    llama: str, labels: str, tmp_path: Path, capsys
) -> None:
    given = ["probe", "steer", "--model", llama, "--data", labels, "--out", str(tmp_path / "runs"), "--strengths", "1"]
    assert command_line.main([*given, *QUICK]) == 0
    printed = capsys.readouterr().out
    assert "effect: KL from the unchanged prediction (nats); text: KL on unrelated text (nats)" in printed
    assert "turned" not in printed
    assert "has no answers by which the model says a class" in printed


def test_steering_is_one_table_that_fits_a_terminal(
    llama: str, labels: str, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    given = ["probe", "steer", "--model", llama, "--data", labels, "--out", str(tmp_path / "runs"), *QUICK, *ANSWERS]
    assert command_line.main(given) == 0
    out = capsys.readouterr().out
    rows = rows_under(out, "effect: fall of the margin of the right answers (logits); turned")
    assert [row[:2] for row in rows] == [["1", strength] for strength in ("-1", "0.5", "1", "2", "4")]
    assert out.count("layer  strength") == 1


def test_quick_asks_less_of_everything_and_never_more_than_was_asked_for(
    llama: str, labels: str, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    given = ["probe", "steer", "--model", llama, "--data", labels, "--out", str(out), "--quick", "--random", "2"]
    assert command_line.main([*given, "--text", "random", "--strengths", "1"]) == 0
    (step,) = out.glob("*/*/results/*")
    assert {name: load(step).settings[name] for name in ("layers", "n_random")} == {"layers": [1, 3], "n_random": 2}
    asked = shortened(probe_align.Config(quick=True, epochs=2), pairs=96, epochs=4)
    assert (asked.n, asked.test, asked.random, asked.pairs, asked.epochs) == (600, 48, 10, 96, 2)
    assert shortened(probe_align.Config(), pairs=96) == probe_align.Config()


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("erase", ["--methods", "leace"]),
        ("steer", ["--strengths", "1"]),
        ("align", ["--pairs", "24", "--epochs", "1"]),
    ],
)
def test_an_interrupted_command_goes_on_after_its_finished_layers(
    command: str, more: list[str], llama: str, labels: str, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, made, stop = tmp_path / "runs", [], 2
    given = ["probe", command, "--model", llama, "--data", labels, "--out", str(out), *QUICK, *ANSWERS, *more]
    given += ["--layers", "0", "1", "--random", "1"]
    original = parts._of_numbers

    def interrupted(numbers: Any, settings: Any) -> Any:
        made.append(settings["layer"])
        if len(made) == stop:
            raise KeyboardInterrupt
        return original(numbers, settings)

    monkeypatch.setattr(parts, "_of_numbers", interrupted)
    assert command_line.main(given) == 130
    (folder,) = (out / f"probe-{command}").iterdir()
    assert len(list((folder / "parts").glob("*/*/result.json"))) == 1
    stop, n_before = 0, len(made)
    assert command_line.main(given) == 0
    assert made[n_before] == 1, "layer 0 was finished"
    assert [path.name for path in (out / f"probe-{command}").iterdir()] == [folder.name]
    assert not (folder / "parts").exists()
    capsys.readouterr()


def test_an_erasure_of_nothing_shows_no_number(llama: str, tmp_path: Path, capsys) -> None:
    drawn = torch.randint(3, 99, (80, 5), generator=torch.Generator().manual_seed(0)).tolist()
    lines = [{"text": " ".join(f"w{i}" for i in row), "label": "ab"[i % 2]} for i, row in enumerate(drawn)]
    file = tmp_path / "noise.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    given = ["probe", "erase", "--model", llama, "--data", str(file), "--out", str(tmp_path / "runs"), *QUICK]
    assert command_line.main([*given, "--methods", "inlp", "--answers", "a=w5", "b=w8"]) == 0
    out = capsys.readouterr().out
    assert "INLP found nothing to erase at any layer: no linear probe beat the majority class" in out
    (row,) = rows_under(out, "INLP: fall of the margin")
    assert row == ["1", "0", "nothing", "to", "erase", "–", "–", "–", "–"]


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
