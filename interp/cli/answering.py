"""What the commands share: the options of every command, a model, a run to keep the answer in, and its report.

with answering("patch", config) as answer:
    result = answer.step("sweep", lambda: interp.patching.sweep(answer.model, task))
    answer.show(result.top(10), "largest effects")
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pandas as pd
import tyro
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from interp.models import identity, load_model
from interp.results import Result
from interp.runs import Run, open_run

R = TypeVar("R", bound=Result)
T = TypeVar("T")

Maybe = Annotated[T | None, tyro.conf.arg(help_behavior_hint="")]
"""An option that may be left out; its docstring says in words what happens then."""
Several = Annotated[tuple[T, ...], tyro.conf.arg(help_behavior_hint="")]
"""The same for any number of values, none unless some are given."""
FILES = (".json", ".jsonl", ".txt")
"""Endings of what an option may name instead of saying it."""

NOT_SETTINGS = ("out", "device", "fresh")
"""Options that do not decide the numbers."""


@dataclass(frozen=True)
class Options:
    """The options that every command has."""

    model: str = "smollm2-135m"
    """A Hugging Face id, a local directory, smollm2-135m, or toy/...; `interp models` lists them."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    seed: int = 0
    """Decides every random draw."""
    out: str = "runs"
    """The directory under which run directories are made, OUT/<command>/<time>-<hash of the settings>/."""
    fresh: bool = False
    """Start a run of its own, even where an interrupted one of the same settings could go on."""


class Answer:
    """A command at work: its model, its run, and what it prints."""

    def __init__(self, model: Any, run: Run, console: Console) -> None:
        self.model = model
        self.run = run
        self.console = console
        self.shown: list[tuple[str, pd.DataFrame]] = []
        self.said: list[str] = []
        self.found: list[str] = []

    def step(self, name: str, compute: Callable[[], R]) -> R:
        """A result of the run: loaded when an interrupted session finished it, else computed and stored."""
        return self.run.step(name, compute)  # type: ignore[return-value]

    def step_in_parts(self, name: str, compute: Callable[[Path], R]) -> R:
        """The same for long work, whose finished parts `compute` keeps in the directory that it is given.

        An interrupted session goes on after them; they go when the whole result is stored.
        """
        parts = self.run.directory / "parts" / name
        found = self.step(name, lambda: compute(parts))
        shutil.rmtree(parts, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty: parts of another step, or never made
            parts.parent.rmdir()
        return found

    def show(self, frame: pd.DataFrame, title: str = "", *, full: pd.DataFrame | None = None, legend: str = "") -> None:
        """Print a short table, its title on a line of its own: above a narrow table it would be broken.

        full: what the report shows in its place, where there is more room. legend: what the columns are, printed below
        the table and part of the report's caption.
        """
        if title:
            self.console.print(Text(title, style="bold"), soft_wrap=True)
        table, tight = as_table(frame), as_table(frame)
        tight.collapse_padding, tight.pad_edge = True, False
        unlimited = self.console.options.update(width=10_000)
        wide, narrow = (self.console.measure(one, options=unlimited).maximum for one in (table, tight))
        self.console.print(Padding(tight, (0, 0, 0, 1)) if narrow < self.console.width < wide else table)
        if legend:
            self.console.print(legend, markup=False, highlight=False, soft_wrap=True)
        told = f"{title}. {legend[:1].upper()}{legend[1:]}" if legend else title
        self.shown.append((told, frame if full is None else full))

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
        self.said.append(text)

    def conclude(self, *sentences: str) -> None:
        """Print what was found; the report begins with it, and keeps what was said besides for its end."""
        for text in sentences:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)
        self.found += sentences


@contextlib.contextmanager
def answering(command: str, config: Options, *, title: str = "", console: Console | None = None) -> Iterator[Answer]:
    """Load the model, open the run, and when the block ends write the report and print its path.

    title: of the report (default: the command). The run's config holds every option that decides the numbers, and the
    hash of the weights, so that an interrupted run is only resumed by the same question to the same model.
    """
    console = console or Console()
    model = load_model(config.model, device=config.device)
    settings = {name: value for name, value in asdict(config).items() if name not in NOT_SETTINGS}
    settings["weights_sha256"] = identity(model)["weights_sha256"]
    settings |= _files_read(settings)
    with open_run(command, settings, root=config.out, resume=not config.fresh) as run:
        answer = Answer(model, run, console)
        yield answer
        report = write_report(answer, title or f"interp {command}")
    answer.say(f"results: {run.directory}")
    answer.say(f"report:  {report}")


def _files_read(settings: dict[str, Any]) -> dict[str, Any]:
    """Hashes of the files that options name, since a run is only resumed on what it began with."""
    given = [item for value in settings.values() for item in (value if isinstance(value, tuple) else (value,))]
    found = {}
    for name in given:
        if isinstance(name, str) and name.endswith(FILES) and Path(name).expanduser().is_file():
            found[name] = hashlib.sha256(Path(name).expanduser().read_bytes()).hexdigest()
    return {"files_sha256": found} if found else {}


def write_report(answer: Answer, title: str) -> Path:
    """One self-contained HTML page: what was printed, then every result of the run, in the order they were made."""
    from interp.viz import Report  # plotly is slow to import, and most of a command's time is over by now

    report = Report(title).section("In short", "\n\n".join(answer.found or answer.said))
    for caption, frame in answer.shown:
        report.add(frame, caption=caption[:1].upper() + caption[1:])
    report.section("Figures")
    for result in answer.run.results().values():
        report.add(result)
    if answer.found:
        report.section("Notes", "\n\n".join(answer.said))
    return report.write(answer.run.path("report.html"))


def named_heads(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with the columns layer and head as one with a column of names: "18.6"."""
    if not {"layer", "head"} <= {*frame.columns}:
        return frame
    named = frame.drop(columns=["layer", "head"])
    named.insert(0, "head", [f"{layer}.{head}" for layer, head in zip(frame["layer"], frame["head"])])
    return named


def as_table(frame: pd.DataFrame, title: str = "") -> Table:
    """A frame as a table for the terminal: numbers to the right, in three significant digits."""
    heading = Text(title, style="bold") if title else None
    table = Table(title=heading, title_justify="left", header_style="bold", box=None)
    for name in frame.columns:
        # As Text: tokens in square brackets are no markup.
        justify = "right" if pd.api.types.is_numeric_dtype(frame[name]) else "left"
        table.add_column(Text(str(name)), justify=justify)  # type: ignore[arg-type]
    for row in frame.itertuples(index=False):
        table.add_row(*(Text(_cell(cell)) for cell in row))
    return table


def _cell(value: Any) -> str:
    """Three significant digits of a number; a dash where there is none."""
    if not isinstance(value, float):
        return str(value)
    return "–" if value != value else f"{value:.3g}"
