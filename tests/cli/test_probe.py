"""`interp probe` on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interp.cli import main as command_line
from interp.probing import ProbeResult
from interp.results import load
from tests.cli.labelled_texts import save_labelled

QUICK = ["--folds", "2", "--layers", "0", "2", "--probes", "mean_difference"]


@pytest.fixture
def labels(tmp_path: Path) -> str:
    """40 texts of words, labelled by the last one."""
    return save_labelled(tmp_path / "labels.jsonl", 40)


def test_accuracies_are_printed_beside_their_controls(llama: str, labels: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / "runs"
    assert command_line.main(["probe", "--model", llama, "--data", labels, "--out", str(out), *QUICK]) == 0
    printed = capsys.readouterr().out
    assert "40 examples in 40 groups: even" in printed
    assert "mean_difference probe of resid_post at token" in printed
    (header,) = (line for line in printed.splitlines() if line.lstrip().startswith("layer"))
    columns = ["layer", "accuracy", "95", "%", "selectivity", "control", "shuffled", "random", "loss", "bits"]
    assert header.split() == columns
    for row in ("embedding", "majority", "selectivity: accuracy less", "random: ", "bits: ", "Labels: in layer "):
        assert sum(line.startswith(row) or f" {row}" in line for line in printed.splitlines()) >= 1
    (folder,) = (out / "probe").iterdir()
    assert not (folder / "parts").exists()
    page = (folder / "report.html").read_text()
    assert "whether the model uses it is another question" in page
    assert "In short</h2>" in page
    assert "∅" not in page
    assert 'class="text"><p>Labels: in layer ' in page
    stored = load(folder / "results" / "mean_difference")
    assert stored.settings["control"].startswith("random class") or f"note: {stored.settings['control']}" in printed
    assert isinstance(stored, ProbeResult)
    assert stored.values["accuracy"].axis("layer").labels == (0, 2)


def test_a_task_of_the_house_for_a_model_without_tokenizer(tmp_path: Path, capsys) -> None:
    arguments = ["probe", "--model", "toy/induction", "--task", "position", "--n", "60", "--out", str(tmp_path)]
    code = command_line.main([*arguments, "--folds", "2", "--probes", "mean_difference"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert "60 examples in" in captured.out


def test_what_one_probe_refuses_is_refused_before_another_is_fitted(
    llama: str, labels: str, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fitted(*_: object, **__: object) -> None:
        raise AssertionError("something was fitted")

    monkeypatch.setattr("interp.probing.fitting.probe_sites", fitted)
    asked = ["probe", "--model", llama, "--data", labels, "--out", str(tmp_path), "--probes", "logistic", "low_rank"]
    assert command_line.main(asked) == 2
    assert "low_rank probes need at least three classes" in capsys.readouterr().err


def test_a_quick_look_takes_six_layers_and_few_examples(llama: str, labels: str, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setattr("interp.cli.probe.QUICK_EXAMPLES", 30)
    asked = ["probe", "--model", llama, "--data", labels, "--out", str(tmp_path), "--probes", "ridge", "--quick"]
    assert command_line.main([*asked, "--folds", "2", "--penalties", "0.1", "1"]) == 0, capsys.readouterr().err
    (folder,) = (tmp_path / "probe").iterdir()
    stored = load(folder / "results" / "ridge")
    assert stored.settings["n"] == 30
    assert stored.settings["n_shuffles"] == 2
    assert stored.settings["penalties"] == [1.0, 0.1]
    assert stored.settings["layers"] == [0, 1, 2, 3]  # all that there are


def test_duplicates_are_named_and_dropped_as_the_message_says(llama: str, tmp_path: Path, capsys) -> None:
    path = Path(save_labelled(tmp_path / "labels.jsonl", 40))
    first = json.loads(path.read_text().splitlines()[0])
    path.write_text(path.read_text() + "\n" + json.dumps({**first, "group": "another"}))
    asked = ["probe", "--model", llama, "--data", str(path), "--out", str(tmp_path), *QUICK]
    assert command_line.main(asked) == 2
    assert "--drop-duplicates" in capsys.readouterr().err
    assert command_line.main([*asked, "--drop-duplicates"]) == 0
    assert "1 examples were dropped, since their tokens occurred before" in capsys.readouterr().out


def test_contradictory_labels_are_counted(llama: str, tmp_path: Path, capsys) -> None:
    path = Path(save_labelled(tmp_path / "labels.jsonl", 40))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    other = {one["label"] for one in rows} - {rows[0]["label"]}
    path.write_text("\n".join(json.dumps(row) for row in [*rows, {**rows[0], "label": other.pop()}]))
    asked = ["probe", "--model", llama, "--data", str(path), "--out", str(tmp_path), *QUICK]
    assert command_line.main([*asked, "--drop-duplicates"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1 of 41 examples have the tokens of an earlier one and another label" in out
    assert "correct the labels (of each the first is kept)" in out


def test_duplicates_of_one_group_are_kept_and_said(llama: str, tmp_path: Path, capsys) -> None:
    path = Path(save_labelled(tmp_path / "labels.jsonl", 40))
    path.write_text(path.read_text() + "\n" + "\n".join(path.read_text().splitlines()[:3]))
    assert command_line.main(["probe", "--model", llama, "--data", str(path), "--out", str(tmp_path), *QUICK]) == 0
    out = capsys.readouterr().out
    assert "43 examples in 40 groups" in out
    assert "3 of them have tokens that occurred before; --drop-duplicates leaves such examples out" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "tenses"], "did you mean 'tense'"),
        (["--data", "LABELS", "--task", "truth"], "two sets of examples; give one of them"),
        (["--data", "nowhere.jsonl"], "cannot read nowhere.jsonl"),
        (["--task", "tense", "--n", "20", "--probes", "logistc"], "did you mean 'logistic'"),
        (["--task", "tense", "--n", "20", "--classes", "future"], "no class 'future'"),
    ],
)
def test_mistakes_are_one_sentence(llama: str, options: list[str], message: str, tmp_path: Path, capsys) -> None:
    assert command_line.main(["probe", "--model", llama, "--out", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.rglob("config.yaml"))


@pytest.mark.parametrize(
    ("command", "options", "instead"),
    [
        (["probe"], ["--data", "LABELS"], "--task position needs none, and --model smollm2-135m has one"),
        (["probe"], ["--task", "number"], "--task position needs none"),
        (["probe"], ["--task", "next_token"], "--task position needs none"),
        (["probe"], ["--task", "position", "--bos"], "leave --bos out"),
        (["probe", "steer"], ["--data", "LABELS"], "--task position needs none"),
        (["probe", "erase"], ["--task", "position", "--answers", "a=b"], "leave --answers out"),
        (["probe", "erase"], ["--task", "position", "--text", "my.txt"], "use --text random"),
    ],
)
def test_text_for_a_model_without_tokenizer_is_refused_with_what_a_command_can_take(
    command: list[str], options: list[str], instead: str, labels: str, tmp_path: Path, capsys
) -> None:
    given = [labels if option == "LABELS" else option for option in options]
    asked = [*command, "--model", "toy/induction", "--out", str(tmp_path / "runs"), "--n", "60", *given]
    assert command_line.main(asked) == 2
    error = capsys.readouterr().err
    assert "toy/induction has no tokenizer, so it reads no text; " in error.replace("\n", " ")
    assert instead in error
    assert "token tensors" not in error
