from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from interp.errors import InputError, StorageError
from interp.runs.locks import is_locked, lock

HOLDER = """
import sys
from interp.runs.locks import lock
with lock(sys.argv[1], "the other one is busy"):
    print("held", flush=True)
    sys.stdin.readline()
print("released", flush=True)
"""

ADDER = """
import sys, time
from pathlib import Path
from interp.runs.locks import lock
counter = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(50):
    with lock(str(counter) + ".lock", "adding"):
        number = int(counter.read_text())
        time.sleep(0.0005)
        counter.write_text(str(number + 1))
"""


def test_two_processes_take_turns(tmp_path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    both = [start(ADDER, counter) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        process.stdout.readline()
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert counter.read_text() == "100"


def test_the_one_who_waits_says_for_what(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "lock"
    other = start(HOLDER, path)
    assert other.stdout is not None
    assert other.stdin is not None
    other.stdout.readline()
    assert is_locked(path)
    busy = rf"^converting \(process {other.pid} on "
    with pytest.raises(InputError, match=busy), lock(path, "converting", wait=False):
        pass
    threading.Timer(0.3, lambda: print(file=other.stdin, flush=True)).start()
    began = time.monotonic()
    with lock(path, "converting the model"):
        assert time.monotonic() - began > 0.2
    assert f"waiting for process {other.pid} on " in caplog.text
    assert "converting the model" in caplog.text


def test_a_killed_holder_lets_go(tmp_path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    path = tmp_path / "lock"
    other = start(HOLDER, path)
    assert other.stdout is not None
    other.stdout.readline()
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert not is_locked(path)
    with lock(path, "free", wait=False):
        assert is_locked(path)


def test_the_lock_is_free_after_an_error_and_knows_its_own_process(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    with pytest.raises(ValueError, match="inside"), lock(path, ""):
        raise ValueError("inside")
    assert not is_locked(path)
    with lock(path, ""), pytest.raises(InputError, match="this process itself"), lock(path, "busy", wait=False):
        pass
    assert not is_locked(tmp_path / "nothing")


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StorageError, match="its file system has no locks"), lock(tmp_path / "lock", ""):
        pass


def test_a_place_that_cannot_hold_a_lock_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a file stands where"), lock(tmp_path / "file" / "lock", ""):
        pass
