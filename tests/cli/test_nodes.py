"""`interp nodes` on the hand-built model, where gradients through saturated attention vanish."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.asking import Ask, results_of, rows_under


def test_heads_are_estimated_and_checked(ask: Ask, tmp_path: Path) -> None:
    out = ask("nodes", "--task", "toy", "--n", 4, "--exact")
    assert rows_under(out, "largest estimated effects")[0][:2] == ["1.0", "20"]
    assert [row[:2] for row in rows_under(out, "largest measured effects")[:2]] == [["1.0", "20"], ["0.0", "10"]]
    # 10 of 30 are not seen through the saturated attention: 0.0 is second by its rounding error alone, and missed.
    assert rows_under(out, "estimates against 4 measured effects") == [["attribution", "1", "0.333", "0", "0.5"]]
    assert sorted(results_of(tmp_path, "nodes")) == ["check", "estimate", "exact"]


def test_a_correction_stands_beside_the_plain_estimate(ask: Ask, tmp_path: Path) -> None:
    out = ask("nodes", "--task", "toy", "--n", 4, "--nodes", "k", "--qk-fix", "--exact")
    rows = {row[0]: row[1:] for row in rows_under(out, "estimates against")}
    assert rows["corrected"][1] == "0"
    assert float(rows["attribution"][1]) == pytest.approx(1, abs=1e-3)
    assert sorted(results_of(tmp_path, "nodes")) == ["check", "estimate", "exact", "plain"]


def test_other_nodes_by_other_axes(ask: Ask, tmp_path: Path) -> None:
    options = ["--by", "layer", "role", "--method", "ig", "--steps", 2, "--direction", "noise"]
    out = ask("nodes", "--task", "induction", "--n", 2, "--nodes", "resid_pre", *options)
    assert rows_under(out, "largest estimated effects")
    settings = results_of(tmp_path, "nodes")["estimate"].settings
    assert (settings["by"], settings["steps"], settings["direction"]) == (["layer", "role"], 2, "noise")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nodes", "head"], "did you mean 'heads'"),
        (["--nodes", "neurons", "--exact"], "not of neurons; leave --exact out"),
        (["--nodes", "mlps"], "mlp_out"),
        (["--by", "head"], "by names 'layer'"),
        (["--qk-fix"], "qk_fix corrects queries and keys"),
        (["--metric", "answer_rank"], "answer_rank has no gradient"),
        (["--steps", "0", "--method", "ig"], "at least 1, not 0"),
    ],
)
def test_mistakes_are_one_sentence(options: list[str], message: str, ask: Ask) -> None:
    assert message in ask("nodes", "--task", "toy", "--n", 2, *options, code=2)
