"""Progress of long work: a bar on a terminal, a line that changes in a notebook, now and then a line elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, Generic, TypeVar, overload

import rich.progress
from rich.console import Console
from rich.markup import escape

T = TypeVar("T")

LINE_EVERY = 10.0
"""Seconds between two plain lines."""
SILENT_BELOW = 2.0
"""Work that took less has no plain line at its end: logs full of finished trifles hide what matters."""


class Progress(Generic[T]):
    """Work of known or unknown length. Iterate over it, or use it as a context manager with `advance`.

    note: what is shown beside how far the work is, such as a loss; set it at any time.
    """

    def __init__(self, items: Iterable[T] | None, total: int | None, description: str, console: Console | None) -> None:
        self._items = items
        self.total = total
        self.description = description
        self.done = 0
        self.note = ""
        self._console = console or Console(stderr=True)
        self._display: _Bar | _Lines | None = None

    def advance(self, n: int = 1) -> None:
        """Say that n more are done. Call it inside the `with` block; any thread may."""
        self.done += n
        if self._display is not None:
            self._display.update(self.done, self.note)

    def resume(self, n: int) -> None:
        """Say that n more were done by an earlier run: they count, but tell nothing of the time that is left."""
        if self._display is not None:
            self._display.before += n
        self.advance(n)

    def __enter__(self) -> Progress[T]:
        # A notebook first: rich would draw its bars there with widgets, which stay blank in pages made from it.
        kind = _Cell if self._console.is_jupyter else _Bar if self._console.is_terminal else _Lines
        self._display = kind(self._console, self.description, self.total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._display is not None:
            # Leaving a loop early closes its generator, which is no failure.
            self._display.end(self.done, stopped=kind is not None and kind is not GeneratorExit)
            self._display = None

    def __iter__(self) -> Iterator[T]:
        if self._items is None:
            raise TypeError("this progress has only a total; use `with progress(n, ...) as bar:` and bar.advance()")
        with self:
            for item in self._items:
                yield item
                self.advance()


@overload
def progress(
    items_or_total: int, description: str, *, total: int | None = None, console: Console | None = None
) -> Progress[None]: ...


@overload
def progress(
    items_or_total: Iterable[T], description: str, *, total: int | None = None, console: Console | None = None
) -> Progress[T]: ...


def progress(
    items_or_total: Iterable[Any] | int, description: str, *, total: int | None = None, console: Console | None = None
) -> Progress[Any]:
    """Show how far long work is, on standard error.

    `for batch in progress(batches, "harvesting"):` or `with progress(n_tokens, "harvesting") as bar: bar.advance(512)`.
    `total` helps when the items have no length. Bars may be nested. Where there is no terminal a line is written at
    most every ten seconds, and one at the end of all work that took more than two; a notebook's line changes in place.
    """
    if isinstance(items_or_total, int):
        return Progress(None, items_or_total, description, console)
    if total is None and isinstance(items_or_total, Sized):
        total = len(items_or_total)
    return Progress(items_or_total, total, description, console)


class _Bar:
    """One line of the single display that all bars of this process share, since a terminal can hold only one."""

    before = 0
    """What an earlier run had done; the bar's speed is that of the last half minute, which forgets it soon."""
    _shared: rich.progress.Progress | None = None
    _open = 0
    _guard = threading.Lock()

    def __init__(self, console: Console, description: str, total: int | None) -> None:
        with _Bar._guard:
            if _Bar._shared is None:
                _Bar._shared = rich.progress.Progress(
                    rich.progress.TextColumn("{task.description}"),
                    rich.progress.BarColumn(),
                    rich.progress.MofNCompleteColumn(),
                    rich.progress.TimeElapsedColumn(),
                    rich.progress.TimeRemainingColumn(),
                    console=console,
                )
                _Bar._shared.start()
            _Bar._open += 1
            self._display = _Bar._shared
            self._outermost = _Bar._open == 1
        self._description = description
        self._task = self._display.add_task(escape(description), total=total)

    def update(self, done: int, note: str) -> None:
        text = f"{self._description}  {note}" if note else self._description
        self._display.update(self._task, completed=done, description=escape(text))

    def end(self, done: int, stopped: bool) -> None:
        with _Bar._guard:
            if not self._outermost:
                self._display.remove_task(self._task)
            _Bar._open -= 1
            if _Bar._open == 0:
                self._display.stop()
                _Bar._shared = None


class _Lines:
    """Plain lines for logs."""

    every = LINE_EVERY
    before = 0
    """What an earlier run had done, in no time."""

    def __init__(self, console: Console, description: str, total: int | None) -> None:
        self._console = console
        self._description = description
        self._total = total
        self._began = self._last = time.monotonic()
        self._shown = False

    def update(self, done: int, note: str) -> None:
        now = time.monotonic()
        if now - self._last < self.every:
            return
        self._last = now
        beside = f"; {note}" if note else ""
        if not self._total:
            return self._write(f"{done} done in {_duration(now - self._began)}{beside}")
        here = done - self.before
        left = _duration(max((now - self._began) / here * (self._total - done), 0)) if here > 0 else "an unknown time"
        self._write(f"{done} of {self._total} ({100 * done // self._total} %), {left} left{beside}")

    def end(self, done: int, stopped: bool) -> None:
        seconds = time.monotonic() - self._began
        if seconds < SILENT_BELOW and not self._shown:
            return
        of = f" of {self._total}" if self._total else ""
        self._write(f"{'stopped at ' if stopped else ''}{done}{of} in {_duration(seconds)}")

    def _write(self, text: str) -> None:
        self._shown = True
        self._say(f"{self._description}: {text}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Cell(_Lines):
    """One line in the output of a notebook's cell, written anew every second."""

    every = 1.0
    _handle: Any = None

    def _say(self, line: str) -> None:
        from IPython.display import display

        if self._handle is None:
            self._handle = display({"text/plain": line}, raw=True, display_id=True)
        else:
            self._handle.update({"text/plain": line}, raw=True)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
