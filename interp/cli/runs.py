"""List, show and compare runs.

A run is named by "latest", "<experiment>/latest", its path, or any part of its name that only it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from interp.runs.listing import RunSummary, list_runs, show_run

_COLOURS = {"finished": "green", "running": "cyan", "interrupted": "yellow", "failed": "red"}
_SETTINGS = 4  # headline settings in a listing
_WIDE = 120  # columns from which on a run is one line


@dataclass(frozen=True)
class Ls:
    """List the runs, the last one first."""

    root: str = "runs"
    """Directory with the runs."""
    n: int = 20
    """How many to list."""


@dataclass(frozen=True)
class Show:
    """Show what one run was asked, where it ran, and what it holds."""

    run: tyro.conf.Positional[str] = "latest"
    """Which run."""
    root: str = "runs"
    """Directory with the runs."""


@dataclass(frozen=True)
class Diff:
    """Compare two runs: settings, environment, and the numbers of results with the same name."""

    a: tyro.conf.Positional[str]
    """The first run."""
    b: tyro.conf.Positional[str]
    """The second run."""
    root: str = "runs"
    """Directory with the runs."""


Config = (
    Annotated[Ls, tyro.conf.subcommand("ls")]
    | Annotated[Show, tyro.conf.subcommand("show")]
    | Annotated[Diff, tyro.conf.subcommand("diff")]
)


def main(config: Ls | Show | Diff, console: Console | None = None) -> int:
    """Print what was asked for."""
    console = console or Console()
    if isinstance(config, Ls):
        _ls(config, console)
    elif isinstance(config, Show):
        _show(config, console)
    else:
        _diff(config, console)
    return 0


def _ls(config: Ls, console: Console) -> None:
    runs = list_runs(config.root)
    if not runs:
        console.print(f"no runs in {config.root} yet; `interp reproduce` makes one", markup=False, highlight=False)
        return
    console.print(_wide(runs[: config.n]) if console.width >= _WIDE else _narrow(runs[: config.n]))
    if len(runs) > config.n:
        console.print(f"{len(runs) - config.n} older runs are not listed; --n lists more", highlight=False)


def _wide(runs: Sequence[RunSummary]) -> Table:
    """A line for each run."""
    table = _table("status", "started", "time", "steps", "run", "settings")
    for run in runs:
        cells = (_started(run), _duration(run.seconds), str(len(run.steps)), _name(run), _headline(run.config))
        table.add_row(_status(run), *map(Text, cells))
    return table


def _narrow(runs: Sequence[RunSummary]) -> Table:
    """Two lines for each run, its settings below its name, which has the time of its start."""
    table = _table("status", "time", "steps", "run")
    for run in runs:
        table.add_row(_status(run), Text(_duration(run.seconds)), Text(str(len(run.steps))), Text(_name(run)))
        if run.config:
            table.add_row("", "", "", Text(f"  {_headline(run.config)}", style="dim"))
    table.columns[-1].no_wrap = False  # settings may go on below; no name is that long
    return table


def _name(run: RunSummary) -> str:
    """As `show`, `diff` and `report` take it."""
    return f"{run.experiment}/{run.directory.name}"


def _show(config: Show, console: Console) -> None:
    shown = show_run(config.run, config.root)
    run: RunSummary = shown["summary"]
    console.print(_status(run), Text(f"{run.experiment}, started {_started(run)}, {_duration(run.seconds)} at work"))
    if run.problem:
        console.print(Text(run.problem, style="red"))
    _print_rows(console, "settings", ("setting", "value"), _pairs(shown["config"]))
    _print_rows(console, "environment", ("", "value"), _pairs(shown["environment"]))
    table = _table("step", "kind", "time", "values", title="results")
    for step in shown["steps"]:
        time = "" if step["seconds"] is None else _duration(step["seconds"])
        values = step["problem"] or "\n".join(_value(value) for value in step["values"])
        table.add_row(*(Text(cell) for cell in (step["name"], step["kind"], time, values)))
    console.print(table)
    console.print(str(run.directory), markup=False, highlight=False, soft_wrap=True)


def _diff(config: Diff, console: Console) -> None:
    from interp.runs.comparing import diff_runs  # reads arrays, hence torch

    diff = diff_runs(config.a, config.b, config.root)
    for name, path in (("a", diff.a), ("b", diff.b)):
        console.print(f"{name}: {path}", markup=False, highlight=False, soft_wrap=True)
    for title, rows in (("settings that differ", diff.config), ("environment that differs", diff.environment)):
        _print_rows(console, title, ("setting", "a", "b"), [(r["setting"], r["a"], r["b"]) for r in rows])
    columns = ("result", "values", "count", "differing", "largest |a - b|", "mean |a - b|", "note")
    keys = ("result", "values", "count", "differing", "largest", "mean", "note")
    _print_rows(console, "numbers", columns, [tuple(row[key] for key in keys) for row in diff.values])


def _print_rows(console: Console, title: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
    if not rows:
        console.print(f"{title}: none", highlight=False)
        return
    table = _table(*columns, title=title)
    for row in rows:
        table.add_row(*(Text(_cell(cell)) for cell in row))
    console.print(table)


def _table(*columns: str, title: str = "") -> Table:
    table = Table(*columns, title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"  # never cut anything
        column.no_wrap = column.header in ("started", "run", "step")  # to be read or copied whole
    return table


def _pairs(settings: Mapping[str, Any]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for name, value in settings.items():
        rows += [(f"{name}.{k}", v) for k, v in value.items()] if isinstance(value, dict) else [(name, value)]
    return rows


def _status(run: RunSummary) -> Text:
    return Text(run.status, style=_COLOURS[run.status])


def _started(run: RunSummary) -> str:
    return run.started[:16].replace("T", " ")


def _headline(config: Mapping[str, Any]) -> str:
    # What was left out says little, and hashes nothing to a reader; there is little room.
    simple = [
        (key, value)
        for key, value in config.items()
        if not isinstance(value, dict | list) and value not in (None, "", False) and not key.endswith("_sha256")
    ]
    more = ", ..." if len(config) > len(simple[:_SETTINGS]) else ""
    return ", ".join(f"{k}={_cell(v)}" for k, v in simple[:_SETTINGS]) + more


def _value(value: Mapping[str, Any]) -> str:
    if value["scalar"] is not None:
        return f"{value['name']} = {_cell(value['scalar'])} {value['unit']}".rstrip()
    axes = ", ".join(f"{name} {size}" for name, size in value["axes"].items())
    return f"{value['name']} [{axes}] {value['unit']}".rstrip()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    return f"{minutes} min {round(seconds) % 60} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
