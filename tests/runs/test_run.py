from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from interp.errors import InputError, StorageError
from interp.results import Result, load
from interp.runs import find_run, list_runs, logs, open_run
from interp.runs.run import config_hash
from tests.runs.conftest import make_result

CONFIG = {"model": "toy/induction", "n": 4, "seed": 0, "by": ["layer", "head"]}


def never() -> Result:
    raise AssertionError("this step was finished before")


def refuse() -> Result:
    raise InputError("there is no layer 9")


def events(directory: Path) -> list[str]:
    return [entry["event"] for entry in logs.read(directory / "log.jsonl")]


def test_a_run_keeps_what_it_was_asked_and_what_it_found(tmp_path: Path) -> None:
    with open_run("ioi", CONFIG, root=tmp_path) as run:
        result = run.step("heads", make_result)
        run.log("note", text="é")
        run.path("screens/a.png").write_bytes(b"x")
    directory = run.directory
    assert re.fullmatch(rf"\d{{8}}-\d{{6}}-{config_hash(CONFIG)}", directory.name)
    assert directory.parent == tmp_path / "ioi"
    assert yaml.safe_load((directory / "config.yaml").read_text()) == CONFIG
    assert "torch" in json.loads((directory / "environment.json").read_text())["packages"]
    assert load(directory / "results" / "heads").equal(result)
    assert events(directory) == ["started", "step_started", "step", "note", "finished"]
    assert (directory / "screens" / "a.png").exists()


def test_an_interrupted_run_is_resumed_without_computing_twice(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, open_run("ioi", CONFIG, root=tmp_path) as run:  # noqa: PT012
        first = run.step("first", make_result)
        raise KeyboardInterrupt
    assert caught.value.__notes__ == [f"finished steps are kept in {run.directory}"]
    assert list_runs(tmp_path)[0].status == "interrupted"
    with open_run("ioi", dict(reversed(CONFIG.items())), root=tmp_path) as again:
        assert again.directory == run.directory
        assert again.step("first", never).equal(first)
        again.step("second", lambda: make_result(1))
        assert list(again.results()) == ["first", "second"]
    assert list_runs(tmp_path)[0].status == "finished"


def test_an_error_is_noted_and_comes_through(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_run("ioi", CONFIG, root=tmp_path) as run:
        run.step("heads", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    (summary,) = list_runs(tmp_path)
    assert (summary.status, summary.problem) == ("failed", "ZeroDivisionError: division by zero")
    with open_run("ioi", CONFIG, root=tmp_path) as again:
        again.step("heads", make_result)
    assert again.directory == run.directory


def test_a_refusal_before_anything_was_found_leaves_nothing(tmp_path: Path) -> None:
    with open_run("ioi", CONFIG | {"n": 5}, root=tmp_path) as other:
        other.step("heads", make_result)
    for experiment in ("ioi", "lens"):
        with (
            pytest.raises(InputError, match="no layer 9") as caught,
            open_run(experiment, CONFIG, root=tmp_path) as run,
        ):
            run.step("heads", lambda: refuse())
        assert not run.directory.exists()
        assert not hasattr(caught.value, "__notes__")
    assert find_run("latest", tmp_path) == other.directory
    assert [path.name for path in tmp_path.rglob("*") if path.parent == tmp_path] == ["ioi"]
    assert list((tmp_path / "ioi").iterdir()) == [other.directory]


def test_a_refusal_keeps_what_was_found_before(tmp_path: Path) -> None:
    with pytest.raises(InputError), open_run("ioi", CONFIG, root=tmp_path) as run:  # noqa: PT012
        run.step("heads", make_result)
        refuse()
    assert list_runs(tmp_path)[0].status == "failed"
    with pytest.raises(InputError), open_run("ioi", CONFIG | {"n": 5}, root=tmp_path) as other:  # noqa: PT012
        other.path("notes.txt").write_text("mine")
        refuse()
    assert (other.directory / "notes.txt").read_text() == "mine"
    with open_run("ioi", CONFIG, root=tmp_path) as again:
        assert again.directory == run.directory
        again.step("heads", never)


def test_a_finished_run_and_other_settings_get_a_new_directory(tmp_path: Path) -> None:
    made = set()
    for config in (CONFIG, CONFIG, CONFIG | {"n": 5}, CONFIG | {"n": 4.0}):
        with open_run("ioi", config, root=tmp_path) as run:
            made.add(run.directory)
    assert len(made) == 4  # within the same second, too


def test_an_unfinished_run_can_be_left_behind(tmp_path: Path) -> None:
    first = open_run("ioi", CONFIG, root=tmp_path)
    first.close()
    second = open_run("ioi", CONFIG, root=tmp_path, resume=False)
    assert second.directory != first.directory
    second.close()


def test_a_run_that_is_at_work_is_not_taken_up(tmp_path: Path) -> None:
    with open_run("ioi", CONFIG, root=tmp_path) as run:
        assert list_runs(tmp_path)[0].status == "running"
        with pytest.raises(InputError, match=f"running in {run.directory}; wait, close it, .*--fresh"):
            open_run("ioi", CONFIG, root=tmp_path)


KILLED = """
import os, signal, sys, torch
from interp.runs import open_run
from tests.runs.conftest import make_result
from tests.runs.test_run import CONFIG

def second():
    print(os.getpid(), flush=True)
    sys.stdin.readline()

with open_run("ioi", CONFIG, root=sys.argv[1]) as run:
    run.step("first", make_result)
    run.step("second", second)
"""


def test_a_run_killed_in_the_middle_of_a_step_is_resumed(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start(KILLED, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == str(process.pid)
    assert list_runs(tmp_path)[0].status == "running"
    with pytest.raises(InputError, match=f"already running in .* \\(process {process.pid} on "):
        open_run("ioi", CONFIG, root=tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (summary,) = list_runs(tmp_path)
    assert (summary.status, summary.steps) == ("interrupted", ("first",))
    with open_run("ioi", CONFIG, root=tmp_path) as run:
        assert run.directory == summary.directory
        assert run.step("first", never).equal(make_result())
        run.step("second", lambda: make_result(1))
    assert events(run.directory).count("resumed") == 1


def test_what_was_left_by_a_kill_while_storing_is_replaced(tmp_path: Path) -> None:
    run = open_run("ioi", CONFIG, root=tmp_path)
    half = run.directory / "results" / "heads"
    half.mkdir()
    (half / ".writing-abc.tmp").write_text("half")
    (half / "arrays-0.safetensors").write_text("half")
    run.step("heads", make_result)
    assert sorted(path.name.partition("-")[0] for path in half.iterdir()) == ["arrays", "result.json"]
    run.finish()


def test_a_damaged_step_is_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = open_run("ioi", CONFIG, root=tmp_path)
    first.step("heads", make_result)
    first.close()
    (first.directory / "results" / "heads" / "result.json").write_text("{")
    with open_run("ioi", CONFIG, root=tmp_path) as run:
        assert run.step("heads", lambda: make_result(2)).equal(make_result(2))
    assert "heads is computed again" in caplog.text


def test_a_full_disk_while_storing_is_told_and_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run = open_run("ioi", CONFIG, root=tmp_path)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match="heads: the disk is full"), run:
        run.step("heads", make_result)
    monkeypatch.undo()
    assert list_runs(tmp_path)[0].status == "failed"
    with open_run("ioi", CONFIG, root=tmp_path) as again:
        again.step("heads", make_result)
    assert again.directory == run.directory


def test_a_full_disk_while_opening_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StorageError, match="the disk is full; free some space"):
        open_run("ioi", CONFIG, root=tmp_path)
    assert os.listdir(tmp_path / "ioi") == []


def test_a_root_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(StorageError, match="a file stands where a directory is needed"):
        open_run("ioi", CONFIG, root=tmp_path / "runs")


def test_the_log_of_an_ended_run_does_not_hide_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageError("full")

    run = open_run("ioi", CONFIG, root=tmp_path)
    monkeypatch.setattr(logs, "append", full)
    with pytest.raises(KeyboardInterrupt), run:
        raise KeyboardInterrupt
    monkeypatch.undo()
    open_run("ioi", CONFIG, root=tmp_path).close()  # the lock was released


def test_another_environment_is_noted_when_resuming(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = open_run("ioi", CONFIG, root=tmp_path)
    run.close()
    path = run.directory / "environment.json"
    before = json.loads(path.read_text())
    before["packages"]["torch"] = "1.0"
    path.write_text(json.dumps(before))
    open_run("ioi", CONFIG, root=tmp_path).close()
    assert "torch was 1.0, is " in caplog.text
    assert "going on in " in caplog.text
    assert "--fresh starts afresh" in caplog.text
    assert "resume=False" not in caplog.text, "the command line knows --fresh"
    (changed,) = logs.read(run.directory / "log.jsonl")[-1]["changed"]
    assert changed.startswith("torch was 1.0")


def test_steps_have_names_of_their_own(tmp_path: Path) -> None:
    with open_run("ioi", CONFIG, root=tmp_path) as run:
        run.step("heads", make_result)
        with pytest.raises(InputError, match="already done in this session"):
            run.step("heads", make_result)
        with pytest.raises(InputError, match="becomes a directory"):
            run.step("../heads", make_result)
        with pytest.raises(InputError, match="lies outside of the run"):
            run.path("../../x")
    with pytest.raises(InputError, match="is finished"):
        run.step("more", make_result)
    run.finish()
    assert events(run.directory).count("finished") == 1


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b"])
def test_an_experiment_needs_a_name_for_a_directory(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="becomes a directory"):
        open_run(name, CONFIG, root=tmp_path)


def test_the_hash_knows_every_setting_and_no_order() -> None:
    nested = {"a": {"x": 1, "y": [1, 2]}, "b": float("nan")}
    assert config_hash(nested) == config_hash({"b": float("nan"), "a": {"y": [1, 2], "x": 1}})
    assert config_hash(nested) != config_hash({"a": {"x": 1, "y": [2, 1]}, "b": float("nan")})
    assert config_hash({"a": 1}) != config_hash({"a": True})


def test_the_latest_run_is_the_one_last_at_work(tmp_path: Path) -> None:
    old = open_run("ioi", CONFIG, root=tmp_path)
    old.close()
    with open_run("ioi", CONFIG | {"n": 5}, root=tmp_path) as new:
        pass
    assert find_run("latest", tmp_path) == new.directory
    open_run("ioi", CONFIG, root=tmp_path).close()
    assert find_run("latest", tmp_path) == old.directory
