"""`interp paths` on the hand-built model, whose paths are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.asking import Ask, results_of, rows_under


def test_the_previous_token_head_sends_to_the_keys(ask: Ask, tmp_path: Path) -> None:
    out = ask("paths", "--task", "toy", "--n", 5, "--receivers", "1.0.k")
    assert rows_under(out, "paths into 1.0.k") == [["0.0", "10", "10", "10"], ["0.1", "0", "0", "0"]]
    settings = results_of(tmp_path, "paths")["paths"].settings
    assert (settings["direction"], settings["mlps"], settings["senders"]) == ("noise", "recompute", None)


def test_named_senders_into_the_logits_at_the_end(ask: Ask, tmp_path: Path) -> None:
    options = ["--senders", "1.0", "1.1", "--positions", "end", "--direction", "denoise", "--mlps", "freeze"]
    out = ask("paths", "--task", "toy", "--n", 4, *options)
    assert rows_under(out, "paths into logits")[0][:2] == ["1.0", "20"]
    settings = results_of(tmp_path, "paths")["paths"].settings
    assert (settings["positions"], settings["mlps"], settings["direction"]) == (["end"], "freeze", "denoise")


def test_positions_may_be_numbers(ask: Ask, tmp_path: Path) -> None:
    out = ask("paths", "--task", "toy", "--n", 2, "--receivers", "1.0.k", "--positions", "3", "-1")
    assert results_of(tmp_path, "paths")["paths"].settings["positions"] == [3, -1]
    assert rows_under(out, "paths into 1.0.k")[0][1] == "0", "no key that matters is there"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--receivers", "1.0.x"], "a head receives by q, k or v"),
        (["--receivers", "0.0.q"], "no head comes before 0.0.q"),
        (["--receivers", "logits", "1.0.q"], "not at both"),
        (["--receivers", "1.0.q", "--senders", "1.1"], "does not come before any receiver"),
        (["--positions", "S2"], "there is no position called 'S2'; valid: end"),
        (["--positions", "end", "3"], "all names or all numbers"),
        (["--metric", "logit"], "there is no metric 'logit'"),
        (["--task", "docstring"], "the task docstring is text and toy/induction has no tokenizer; use --task toy"),
    ],
)
def test_mistakes_are_one_sentence(options: list[str], message: str, ask: Ask) -> None:
    assert message in ask("paths", "--task", "toy", "--n", 2, *options, code=2)
