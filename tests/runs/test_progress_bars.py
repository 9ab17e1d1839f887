from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from interp.runs import progress, progress_bars


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress_bars, "time", made)
    return made


@pytest.fixture
def plain() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=40)


def lines(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_without_a_terminal_a_line_now_and_then_and_one_at_the_end(clock: Clock, plain: Console) -> None:
    for _ in progress(range(10), "harvesting [all] of the activations of every layer", console=plain):
        clock.now += 4
    assert lines(plain) == [
        "harvesting [all] of the activations of every layer: 3 of 10 (30 %), 28 s left",
        "harvesting [all] of the activations of every layer: 6 of 10 (60 %), 16 s left",
        "harvesting [all] of the activations of every layer: 9 of 10 (90 %), 4 s left",
        "harvesting [all] of the activations of every layer: 10 of 10 in 40 s",
    ]


def test_a_notebook_has_one_line_that_changes(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, str]] = []

    class Handle:
        def update(self, bundle: dict[str, str], raw: bool) -> None:
            said.append(("changed", bundle["text/plain"]))

    def display(bundle: dict[str, str], raw: bool, display_id: bool) -> Handle:
        said.append(("new", bundle["text/plain"]))
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    for _ in progress(range(3), "maps", console=Console(file=io.StringIO(), force_jupyter=True)):
        clock.now += 0.6
    assert said == [("new", "maps: 2 of 3 (66 %), 1 s left"), ("changed", "maps: 3 of 3 in 2 s")]
    assert list(progress(range(3), "short", console=Console(file=io.StringIO(), force_jupyter=True))) == [0, 1, 2]
    assert len(said) == 2


def test_short_work_is_silent(clock: Clock, plain: Console) -> None:
    assert list(progress(range(3), "short", console=plain)) == [0, 1, 2]
    assert lines(plain) == []


def test_steps_of_any_size_and_an_unknown_total(clock: Clock, plain: Console) -> None:
    with progress(100, "tokens", console=plain) as bar:
        clock.now += 100
        bar.advance(25)
    for _ in progress(iter([1, 2]), "stream", console=plain):
        clock.now += 4000
    assert lines(plain) == [
        "tokens: 25 of 100 (25 %), 5 min 0 s left",
        "tokens: 25 of 100 in 1 min 40 s",
        "stream: 1 done in 1 h 6 min",
        "stream: 2 done in 2 h 13 min",
        "stream: 2 in 2 h 13 min",
    ]


def test_work_that_fails_says_where(clock: Clock, plain: Console) -> None:
    with pytest.raises(KeyboardInterrupt), progress(4, "sweep", console=plain) as bar:  # noqa: PT012
        clock.now += 5
        bar.advance()
        raise KeyboardInterrupt
    assert lines(plain) == ["sweep: stopped at 1 of 4 in 5 s"]


def test_leaving_a_loop_early_is_no_failure(clock: Clock, plain: Console) -> None:
    def first(items: Iterator[int]) -> int:
        for item in items:
            clock.now += 5
            return item
        raise AssertionError

    running = iter(progress(range(4), "search", console=plain))
    first(running)
    running.close()  # type: ignore[attr-defined]
    assert lines(plain) == ["search: 0 of 4 in 5 s"]


def test_a_total_alone_cannot_be_iterated() -> None:
    with pytest.raises(TypeError, match=r"bar\.advance"):
        iter(progress(3, "x")).__next__()


def test_nested_bars_share_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = Console(file=io.StringIO(), force_terminal=True, width=100)
    for _ in progress(range(2), "outer", console=screen):
        assert sum(1 for _ in progress(range(3), "inner [x]", console=screen)) == 3
        assert progress_bars._Bar._open == 1
    assert progress_bars._Bar._shared is None
    assert isinstance(screen.file, io.StringIO)
    assert "outer" in screen.file.getvalue()
    assert "2/2" in screen.file.getvalue()


def test_what_an_earlier_run_did_tells_nothing_of_the_time_left(clock: Clock, plain: Console) -> None:
    with progress(100, "tokens", console=plain) as bar:
        bar.resume(50)
        clock.now += 20
        bar.advance(0)
        clock.now += 20
        bar.advance(10)
    assert lines(plain) == [
        "tokens: 50 of 100 (50 %), an unknown time left",
        "tokens: 60 of 100 (60 %), 2 min 40 s left",
        "tokens: 60 of 100 in 40 s",
    ]
