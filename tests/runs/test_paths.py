from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from interp.errors import StorageError
from interp.runs import atomic_directory, atomic_write, cache_dir, paths


def test_the_cache_moves_with_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.setenv("INTERP_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "interp-workbench"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_dir() == Path.home() / ".cache" / "interp-workbench"


@pytest.mark.parametrize("content", ["Ġé\n", b"\x00\xff"])
def test_a_file_is_written_and_replaced(content: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    atomic_write(path, "old")
    assert atomic_write(path, content) == path
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert os.listdir(path.parent) == ["file"]


def test_a_file_gets_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    atomic_write(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("number", "sentence"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission is denied")],
)
def test_a_disk_that_refuses_leaves_the_old_file(
    number: int, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = atomic_write(tmp_path / "file", "old")

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=sentence) as caught:
        atomic_write(path, "new")
    assert str(path) in str(caught.value)
    assert caught.value.errno == number
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_where_a_directory_is_needed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a file stands where a directory is needed"):
        atomic_write(tmp_path / "file" / "x", "")
    with pytest.raises(StorageError, match="a file stands where"), atomic_directory(tmp_path / "file" / "x"):
        pass


def test_a_directory_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "models" / "tiny"
    with atomic_directory(target) as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "file").write_text("x")
        assert not target.exists()
        assert temporary.parent == target.parent
    assert (target / "deep" / "file").read_text() == "x"
    assert os.listdir(target.parent) == ["tiny"]


def test_a_directory_that_fails_vanishes_and_the_error_comes_through(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="reset"), atomic_directory(tmp_path / "a") as temporary:  # noqa: PT012
        (temporary / "half").write_text("x")
        raise ConnectionError(errno.ECONNRESET, "reset")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_inside_the_block_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot write .*/a: the disk is full"), atomic_directory(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert os.listdir(tmp_path) == []


def test_whoever_comes_first_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "a"
    with pytest.raises(FileExistsError, match="in the meantime"), atomic_directory(target) as temporary:  # noqa: PT012
        (temporary / "second").write_text("")
        target.mkdir()
        (target / "first").write_text("")
    assert os.listdir(target) == ["first"]
    assert os.listdir(tmp_path) == ["a"]
    with pytest.raises(FileExistsError, match="already exists"), atomic_directory(target):
        pass


CONTENDER = """
import os, shutil, sys
from interp.runs.paths import atomic_directory
sys.stdin.readline()
made = 0
while made < 50:
    try:
        with atomic_directory(sys.argv[1]) as temporary:
            (temporary / "file").write_text("x")
        taken = f"{sys.argv[1]}-{os.getpid()}"
        os.rename(sys.argv[1], taken)  # in one go: an emptied directory could be written over
        shutil.rmtree(taken)
        made += 1
    except FileExistsError:
        pass
print(made)
"""

WRITER = """
import sys
from interp.runs.paths import atomic_directory
with atomic_directory(sys.argv[1]) as temporary:
    (temporary / "half").write_text("x" * 1000)
    print("writing", flush=True)
    sys.stdin.readline()
"""


def test_many_writers_at_once_leave_one_directory_and_no_mess(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    target = tmp_path / "a"
    contenders = [start(CONTENDER, target) for _ in range(4)]
    for process in contenders:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outcomes = [process.communicate(timeout=240) for process in contenders]
    assert [error for _, error in outcomes] == [""] * 4
    assert sum(int(made) for made, _ in outcomes) == 200
    assert os.listdir(tmp_path) == []


def test_what_a_killed_writer_left_is_cleared_and_a_living_one_is_left_alone(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    target = tmp_path / "a"
    dead, alive = start(WRITER, target), start(WRITER, target)
    for process in (dead, alive):
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    assert not target.exists()
    assert len(os.listdir(tmp_path)) == 2
    assert paths.clear_abandoned(target) == 1
    alive.communicate("go on\n")
    assert alive.returncode == 0
    assert os.listdir(tmp_path) == ["a"]
    assert os.listdir(target) == ["half"]
