from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from interp.errors import InputError
from interp.runs import find_run, list_runs, open_run, show_run
from tests.runs.conftest import REPOSITORY, make_result


def test_runs_are_listed_with_what_they_are(tmp_path: Path) -> None:
    with open_run("ioi", {"n": 1}, root=tmp_path) as run:
        run.step("b", make_result)
        run.step("a", make_result)
    (summary,) = list_runs(tmp_path)
    assert (summary.experiment, summary.status, summary.steps) == ("ioi", "finished", ("b", "a"))
    assert summary.config == {"n": 1}
    assert 0 < summary.seconds < 60
    assert list_runs(tmp_path / "nothing") == []


def test_time_at_work_leaves_out_the_time_between_sessions(tmp_path: Path) -> None:
    run = open_run("ioi", {}, root=tmp_path)
    run.close()
    lines = [("started", 0), ("step_started", 10), ("resumed", 1000), ("finished", 1005)]
    text = "".join(
        f'{{"time": "2026-01-01T00:{s // 60:02}:{s % 60:02}+00:00", "event": "{e}", "name": "x"}}\n' for e, s in lines
    )
    (run.directory / "log.jsonl").write_text(text)
    (summary,) = list_runs(tmp_path)
    assert summary.seconds == 15
    assert summary.started.startswith("2026-01-01T00:00:00")


def test_damaged_runs_are_still_listed(tmp_path: Path) -> None:
    with open_run("ioi", {"n": 1}, root=tmp_path) as run:
        run.step("a", make_result)
    (run.directory / "log.jsonl").write_bytes(b"\xff{")
    (run.directory / "config.yaml").write_text("a: [")
    (run.directory / "results" / "a" / "result.json").write_text("{")
    (summary,) = list_runs(tmp_path)
    assert (summary.status, summary.config, summary.steps) == ("interrupted", {}, ("a",))
    assert show_run("latest", tmp_path)["steps"][0]["kind"] == "damaged"


def test_runs_that_are_still_being_made_are_not_listed(tmp_path: Path) -> None:
    (tmp_path / "ioi" / ".half.tmp").mkdir(parents=True)
    (tmp_path / "ioi" / ".half.tmp" / "config.yaml").write_text("{}")
    assert list_runs(tmp_path) == []


def test_a_run_is_found_by_any_name_that_only_it_has(tmp_path: Path) -> None:
    with open_run("ioi", {"n": 1}, root=tmp_path) as first, open_run("heads", {"n": 1}, root=tmp_path) as second:
        pass
    assert find_run(first.directory, tmp_path / "elsewhere") == first.directory
    assert find_run("ioi/latest", tmp_path) == first.directory
    assert find_run("heads", tmp_path) == second.directory
    assert find_run(f"ioi/{first.directory.name}", tmp_path) == first.directory
    with pytest.raises(InputError, match=r"fits 2 runs, such as .*; give more of the name"):
        find_run(first.directory.name[-8:], tmp_path)
    with pytest.raises(InputError, match=r"there is no run 'lates' in .*; did you mean 'latest'"):
        find_run("lates", tmp_path)
    with pytest.raises(InputError, match="there is no run 'lens/latest'"):
        find_run("lens/latest", tmp_path)
    with pytest.raises(InputError, match="there are no runs in"):
        find_run("latest", tmp_path / "nothing")


def test_showing_a_run_names_its_values(tmp_path: Path) -> None:
    with open_run("ioi", {"n": 1}, root=tmp_path) as run:
        run.step("heads", make_result)
    (step,) = show_run("latest", tmp_path)["steps"]
    assert (step["name"], step["kind"]) == ("heads", "result")
    assert step["seconds"] >= 0
    assert step["values"] == [
        {"name": "effect", "axes": {"layer": 3}, "unit": "logit difference", "scalar": None},
        {"name": "loss", "axes": {}, "unit": "nats", "scalar": 1.5},
    ]


def test_listing_does_not_wait_for_torch(tmp_path: Path) -> None:
    with open_run("ioi", {}, root=tmp_path) as run:
        run.step("a", make_result)
    use = "assert list_runs(sys.argv[1]) and show_run('latest', sys.argv[1])"
    program = f"import sys; from interp.runs import list_runs, show_run; {use}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, cwd=REPOSITORY)
