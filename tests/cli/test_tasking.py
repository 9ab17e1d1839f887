"""Choosing a task: every name of the help exists, options reach the task, and what does not fit is refused."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
from rich.console import Console

from interp.cli.answering import Answer
from interp.cli.tasking import COMMON, NAMES, TASKS, MetricOptions, TaskOptions, choose_task, own_options
from interp.errors import InputError
from interp.runs import open_run
from interp.tasks.metrics import METRICS
from tests.cli.asking import Ask, results_of
from tests.tiny_models import tiny


def write_pairs(path: Path, answer: str = " w9") -> Path:
    common = {"answer": answer, "distractor": " w8", "positions": {"it": 1}}
    pairs = [{"clean": f"w5 w6 w{i}", "corrupt": f"w5 w7 w{i}"} | common for i in range(10, 14)]
    path.write_text("\n".join(json.dumps(pair) for pair in pairs))
    return path


def test_the_help_names_every_task_option_and_metric() -> None:
    source = inspect.getsource(inspect.getmodule(MetricOptions))  # type: ignore[arg-type]
    documented = source[source.index("class TaskOptions") : source.index("def choose_task")]
    for name in (*NAMES, *METRICS):
        assert name in documented
    for task in TASKS.values():
        for option in set(inspect.signature(task).parameters) - {*COMMON}:
            assert option in documented


def test_options_take_the_types_of_the_task() -> None:
    assert own_options("ioi", ["order=ABBA", "templates=0,3"]) == {"order": "ABBA", "templates": [0, 3]}
    assert own_options("induction", ["n-repeats=3", "length=5"]) == {"n_repeats": 3, "length": 5}
    assert own_options("subject-verb-agreement", ["structures=simple"]) == {"structures": ["simple"]}


@pytest.mark.parametrize(
    ("task", "given", "message"),
    [
        ("ioi", "ordre=ABBA", "there is no option of the task ioi 'ordre'; did you mean 'order'"),
        ("induction", "corruption=abc", "there is no option of the task induction 'corruption'"),
        ("repeated-text", "length=3", "there is no option of the task repeated-text 'length'; valid: none"),
        ("ioi", "order", "give each once, as order=value"),
        ("ioi", "templates=a,b", "templates=a,b is no numbers, as in 0,3,7"),
        ("induction", "length=five", "length=five is no number"),
    ],
)
def test_options_that_a_task_does_not_have(task: str, given: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        own_options(task, [given])


def test_random_tokens_fit_a_small_model(ask: Ask, tmp_path: Path) -> None:
    ask("patch", "--task", "induction", "--n", 2)
    task = results_of(tmp_path, "patch")["sweep"].provenance.task
    assert task["settings"]["length"] == 6, "twice as many different tokens as its vocabulary of 13 allows"


def test_options_reach_the_prompts(ask: Ask, tmp_path: Path) -> None:
    ask("patch", "--task", "induction", "--n", 2, "--task-options", "length=4", "n_repeats=3", "--metric", "loss")
    found = results_of(tmp_path, "patch")["sweep"]
    assert (found.provenance.task["settings"]["length"], found.provenance.task["settings"]["n_repeats"]) == (4, 3)
    assert found.settings["metric"] == "loss"


def test_a_file_of_pairs(ask: Ask, llama: str, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.jsonl")
    out = ask("patch", "--task", pairs, "--n", 3, "--by", "layer", "role", "--out", tmp_path / "a", model=llama)
    assert f"note: the first 3 of the 4 pairs in {pairs}; --n 0 takes all" in out
    found = results_of(tmp_path / "a", "patch")["sweep"]
    assert found.values["effect"].axis("role").labels == ("it", "end")
    assert len(found.values["clean"].data) == 3
    out = ask("patch", "--task", pairs, "--n", 0, "--out", tmp_path / "b", model=llama)
    assert "note:" not in out
    assert len(results_of(tmp_path / "b", "patch")["sweep"].values["clean"].data) == 4


def test_answers_of_several_tokens(ask: Ask, llama: str, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.jsonl", answer=" w9 w3")
    root = tmp_path / "runs"
    root.mkdir()
    out = ask("patch", "--task", pairs, "--multi-token", "first", "--out", root / "first", model=llama)
    assert "note: 4 answers or distractors were cut to their first token" in out
    ask("patch", "--task", pairs, "--multi-token", "logprob", "--out", root / "all", model=llama)
    assert results_of(root / "all", "patch")["sweep"].settings["metric"] == "log_probability"


def test_a_changed_file_is_another_question(ask: Ask, llama: str, tmp_path: Path) -> None:
    for answer in (" w9", " w3"):
        ask("patch", "--task", write_pairs(tmp_path / "pairs.jsonl", answer), "--n", 1, "--top", 1, model=llama)
    codes = {folder.name.split("-")[-1] for folder in (tmp_path / "patch").iterdir()}
    assert len(codes) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "ioi"], "the task ioi is text and toy/induction has no tokenizer; use --task toy, the task it was"),
        (["--task", "pairs.jsonl"], "toy/induction has no tokenizer"),
        (["--task", "induction", "--bos"], "has no tokenizer"),
        (["--task", "toy", "--corruption", "abc"], "the toy task has no options"),
        (["--task", "toy", "--multi-token", "first"], "--multi-token is for the answers of a .jsonl file"),
        (["--task", "inductoin"], "did you mean 'induction'"),
        (["--task", "induction", "--task-options", "length=60"], "use length=13 or less"),
    ],
)
def test_what_does_not_fit_is_one_sentence(options: list[str], message: str, ask: Ask) -> None:
    assert message in ask("patch", *options, code=2)


def test_models_that_are_no_toys_may_lack_a_tokenizer_too(tmp_path: Path) -> None:
    with open_run("trial", {}, root=tmp_path) as run:
        answer = Answer(tiny("native"), run, Console(quiet=True))
        with pytest.raises(InputError, match="has no tokenizer; use --task induction, which needs none"):
            choose_task(answer, TaskOptions())
        task = choose_task(answer, TaskOptions(task="induction", n=2))
    assert task.clean.shape == (2, 64), "32 tokens twice are its whole context"


def test_corruption_is_not_of_a_file(ask: Ask, llama: str, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.jsonl")
    error = ask("patch", "--task", pairs, "--corruption", "s2", model=llama, code=2)
    assert "a file brings its corrupt prompts" in error
