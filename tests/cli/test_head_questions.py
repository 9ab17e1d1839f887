"""`interp heads copying|names|eigenvalues|composition|in-context|knock-out` on the hand-built model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.asking import Ask, results_of, rows_under


def test_the_induction_head_copies(ask: Ask, tmp_path: Path) -> None:
    out = ask("heads copying", "--n", 3)
    assert rows_under(out, "heads that copy most")[0][:2] == ["1.0", "1"]
    assert results_of(tmp_path, "heads-copying")["copying"].settings["length"] == 13, "its whole vocabulary"


def test_names_are_tokens_at_named_positions(ask: Ask, tmp_path: Path) -> None:
    out = ask("heads names", "--task", "induction", "--n", 3, "--roles", "B1", "--within", 1)
    assert rows_under(out, "heads that copy names")[0][:2] == ["1.0", "1"]
    assert [row[1] for row in rows_under(out, "heads that suppress names")] == ["0"] * 4
    settings = results_of(tmp_path, "heads-names")["names"].settings
    assert (settings["roles"], settings["top"]) == (["B1"], 1)


def test_eigenvalues_of_the_circuits(ask: Ask, tmp_path: Path) -> None:
    out = ask("heads eigenvalues")
    assert rows_under(out, "OV circuits")[0][:2] == ["1.0", "1"]
    assert rows_under(out, "QK circuits")[0][:2] == ["1.1", "1"]
    assert list(results_of(tmp_path, "heads-eigenvalues")) == ["eigenvalues"]


def test_the_induction_head_reads_the_previous_token_head(ask: Ask, tmp_path: Path) -> None:
    out = ask("heads composition", "--n-random", 20)
    assert rows_under(out, "pairs of heads")[0][:2] == ["0.0", "1.0"]
    ask("heads composition", "--kind", "v", "--sources", "0.1", "--out", tmp_path / "more")
    found = results_of(tmp_path / "more", "heads-composition")["composition"]
    assert found.values["score"].axis("source").labels == ("0.1",)


def test_learning_in_context_from_random_tokens_or_texts(ask: Ask, llama: str, tmp_path: Path) -> None:
    out = ask("heads in-context", "--n", 3)
    (score,) = (row for row in rows_under(out, "loss in nats") if row[0] == "score")
    assert float(score[1]) < -1
    assert "3 prompts of 13 random tokens, repeated once" in out
    texts = tmp_path / "texts"
    texts.mkdir()
    for name, first in (("a", 5), ("b", 9)):
        (texts / f"{name}.txt").write_text(" ".join(f"w{first + i % 7}" for i in range(40)))
    options = ["--text", texts, "--early", 3, "--late", 20, "--window", 2, "--bos"]
    out = ask("heads in-context", *options, "--out", tmp_path / "runs", model=llama)
    assert f"2 passages out of {texts}, 22 tokens each" in out
    settings = results_of(tmp_path / "runs", "heads-in-context")["in-context"].settings
    assert (settings["early"], settings["late"], settings["window"], settings["n"]) == (3, 20, 2, 2)


def test_knocking_out_the_detected_induction_heads(ask: Ask, tmp_path: Path) -> None:
    out = ask("heads knock-out", "--n", 3, "--n-random", 2)
    assert "change of the loss without 1.0 (nats)" in out
    intact, chosen = (float(cell) for cell in rows_under(out, "change of the loss")[1][2:4])
    assert chosen > 0.5, "the second copy is no longer known"
    found = results_of(tmp_path, "heads-knock-out")
    assert sorted(found) == ["knock-out", "scores"]
    assert found["knock-out"].settings["draws"] == [["1.1"], ["1.1"]]
    assert intact == pytest.approx(float(found["knock-out"].values["intact"].sel(measure="second copy").data), abs=0.01)


def test_knocking_out_heads_by_name(ask: Ask, tmp_path: Path) -> None:
    options = ["--value", "mean", "--text", "random", "--n", 2, "--n-random", 1, "--exclude", "0.1"]
    out = ask("heads knock-out", "0.0", *options)
    assert "change of the loss without 0.0" in out
    assert "random: 1 draws of as many other heads, some of them of other layers" in out
    found = results_of(tmp_path, "heads-knock-out")["knock-out"]
    assert found.values["intact"].axis("measure").labels[-1] == "in-context score"
    settings = found.settings
    assert (settings["value"], settings["excluded"], settings["layers_matched"]) == ("mean", ["0.1"], False)


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("copying", ["--reads", "embeding"], "did you mean 'embedding'"),
        ("copying", ["--length", 99], "2 to 13 different tokens"),
        ("names", [], "the task ioi is text and toy/induction has no tokenizer; use --task toy"),
        ("names", ["--task", "toy"], "names no positions but its end"),
        ("names", ["--task", "induction", "--roles", "IO"], "there is no position 'IO'"),
        ("eigenvalues", ["--circuits", "OVV"], "did you mean 'OV'"),
        ("eigenvalues", ["--offset", 3], "rotary positions only"),
        ("composition", ["--kind", "w"], "there is no kind of composition 'w'"),
        ("composition", ["--sources", "9.9"], "layer 9 does not exist: the layers are 0 to"),
        ("in-context", ["--late", 90], "the model takes 27"),
        ("in-context", ["--early", 9, "--late", 3], "1 <= early < late"),
        ("in-context", ["--text", "my.txt"], "has no tokenizer, so it reads no text; use --text random"),
        ("knock-out", ["1.7"], "head 7 does not exist: the heads are 0 to 1"),
        ("knock-out", ["head"], "'head' names no head"),
        ("knock-out", ["0.0", "0.1", "1.0", "1.1"], "choose or exclude fewer"),
    ],
)
def test_mistakes_are_one_sentence(command: str, options: list[object], message: str, ask: Ask) -> None:
    assert message in ask(f"heads {command}", *options, code=2)


def test_texts_that_are_not_there_are_one_sentence(ask: Ask, llama: str) -> None:
    assert "there are no texts at nowhere.txt" in ask("heads in-context", "--text", "nowhere.txt", model=llama, code=2)


def test_no_induction_head_is_one_sentence(ask: Ask, tmp_path: Path) -> None:
    # The scores were found, and are kept; what is refused is the rest.
    from interp.cli import main as command_line

    options = ["--model", "toy/induction", "--out", str(tmp_path), "--n", "2", "--detected", "0.9"]
    assert command_line.main(["heads", "knock-out", *options]) == 2
    (folder,) = (tmp_path / "heads-knock-out").iterdir()
    assert [path.name for path in (folder / "results").iterdir()] == ["scores"]
