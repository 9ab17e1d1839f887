"""What runs there are and what a run holds, read from its small files: no arrays, no torch, so it is instant."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import yaml

from interp.errors import InputError, nearest
from interp.results.describing import RESULT_FILE, read_description
from interp.runs import logs
from interp.runs.locks import is_locked

Status = Literal["finished", "interrupted", "failed", "running"]


@dataclass(frozen=True)
class RunSummary:
    """A run at a glance."""

    directory: Path
    experiment: str
    status: Status
    """"interrupted" (Ctrl-C or a killed process) and "failed" (an error) runs are resumed by the next `open_run`."""
    started: str
    """Time in ISO 8601; empty when the log is lost."""
    active: str
    """When it was last started or resumed."""
    seconds: float
    """Time at work in all sessions together; to the last sign of life in a session that was killed."""
    config: Mapping[str, Any]
    steps: tuple[str, ...]
    """Names of the finished steps."""
    problem: str
    """The error that ended the last session, if one did."""


def list_runs(root: str | Path = "runs") -> list[RunSummary]:
    """Every run under `root`, the one that was started or resumed last first. An empty list when there is no root."""
    found = [path.parent for path in Path(root).expanduser().glob("*/*/config.yaml")]
    runs = [summarise(path) for path in found if not path.name.startswith(".")]  # hidden: still being made
    return sorted(runs, key=lambda run: (_moment(run.active), run.directory.name), reverse=True)


def find_run(name: str | Path, root: str | Path = "runs") -> Path:
    """The directory of a run: "latest", "<experiment>/latest", a path, or any part of its name that only it has.

    Raises InputError, with the nearest names, when there is none or several.
    """
    if (Path(name).expanduser() / "config.yaml").is_file():
        return Path(name).expanduser()
    runs = list_runs(root)
    if not runs:
        raise InputError(f"there are no runs in {root}; give another directory with --root, or a path")
    experiment, _, last = str(name).rpartition("/")
    if last == "latest":
        runs = [run for run in runs if experiment in ("", run.experiment)]
        if runs:
            return runs[0].directory
    names = {f"{run.experiment}/{run.directory.name}": run.directory for run in runs}
    fitting = [key for key in names if str(name) in key]
    if len(fitting) == 1:
        return names[fitting[0]]
    if not fitting:
        raise InputError(f"there is no run {str(name)!r} in {root}{nearest(name, [*names, 'latest'])}")
    raise InputError(f"{str(name)!r} fits {len(fitting)} runs, such as {', '.join(fitting[:3])}; give more of the name")


def show_run(name: str | Path, root: str | Path = "runs") -> dict[str, Any]:
    """Everything a run says about itself: "summary", "config", "environment", and "steps", each with its values.

    A value has its name, axes with sizes, unit, and its number when it is a scalar.
    """
    directory = find_run(name, root)
    summary = summarise(directory)
    times = {e["name"]: e["seconds"] for e in _events(directory) if e["event"] == "step" and "seconds" in e}
    steps = [_show_step(directory / "results" / step, times.get(step)) for step in summary.steps]
    return {
        "summary": summary,
        "config": dict(summary.config),
        "environment": _read_environment(directory),
        "steps": steps,
    }


def summarise(directory: Path) -> RunSummary:
    """The summary of one run directory, however damaged its files are."""
    events = _events(directory)
    sessions = _sessions(events)
    running = is_locked(directory / ".lock")
    if running and sessions:
        sessions[-1] = (sessions[-1][0], datetime.now().astimezone())
    return RunSummary(
        directory=directory,
        experiment=directory.parent.name,
        status=_status(events, running),
        started=events[0]["time"] if events else "",
        active=next((e["time"] for e in reversed(events) if e["event"] in ("started", "resumed")), ""),
        seconds=sum(((end - start).total_seconds() for start, end in sessions), 0.0),
        config=_read_config(directory),
        steps=_finished_steps(directory, events),
        problem=_problem(events),
    )


def _status(events: list[dict[str, Any]], running: bool) -> Status:
    if any(e["event"] == "finished" for e in events):
        return "finished"
    if running:
        return "running"
    return "failed" if events and events[-1]["event"] == "failed" else "interrupted"


def _problem(events: list[dict[str, Any]]) -> str:
    last = events[-1] if events else {}
    return f"{last['error']}: {last['message']}" if last.get("event") == "failed" else ""


def _sessions(events: list[dict[str, Any]]) -> list[tuple[datetime, datetime]]:
    """First and last sign of life of each session: from "started" or "resumed" up to the next of them."""
    sessions: list[tuple[datetime, datetime]] = []
    for entry in events:
        moment = _moment(entry["time"])
        if entry["event"] in ("started", "resumed") or not sessions:
            sessions.append((moment, moment))
        else:
            sessions[-1] = (sessions[-1][0], moment)
    return sessions


def _finished_steps(directory: Path, events: list[dict[str, Any]]) -> tuple[str, ...]:
    stored = sorted(path.parent.name for path in (directory / "results").glob(f"*/{RESULT_FILE}"))
    order = [e["name"] for e in events if e["event"] == "step"]
    return tuple(dict.fromkeys([name for name in order if name in stored] + stored))


def _show_step(directory: Path, seconds: float | None) -> dict[str, Any]:
    try:
        description = read_description(directory)
    except InputError as error:
        return {"name": directory.name, "kind": "damaged", "seconds": seconds, "values": [], "problem": str(error)}
    values = [
        {
            "name": name,
            "axes": {axis["name"]: len(axis["labels"]) for axis in value["axes"]},
            "unit": value["unit"],
            "scalar": value.get("scalar"),
        }
        for name, value in description["values"].items()
    ]
    return {"name": directory.name, "kind": description["kind"], "seconds": seconds, "values": values, "problem": ""}


def _events(directory: Path) -> list[dict[str, Any]]:
    return logs.read(directory / logs.LOG_FILE)


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        return datetime.fromtimestamp(0).astimezone()


def _read_config(directory: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return config if isinstance(config, dict) else {}


def _read_environment(directory: Path) -> dict[str, Any]:
    try:
        return json.loads((directory / "environment.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return {}
