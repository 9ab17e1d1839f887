from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from interp.errors import StorageError
from interp.runs import logs


def test_events_come_back_in_order_and_every_line_is_strict_json(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    logs.append(path, "started")
    logs.append(path, "step", name="Ġé", loss=float("nan"))
    events = logs.read(path)
    assert [e["event"] for e in events] == ["started", "step"]
    assert events[1]["loss"] != events[1]["loss"]
    for line in path.read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_a_torn_line_is_left_out_and_the_next_event_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    logs.append(path, "started")
    with path.open("ab") as file:
        file.write('{"time": "2026", "event": "st\u0120'.encode()[:-1])
    assert [e["event"] for e in logs.read(path)] == ["started"]
    logs.append(path, "resumed")
    assert [e["event"] for e in logs.read(path)] == ["started", "resumed"]


def test_no_log_and_foreign_lines_are_no_events(tmp_path: Path) -> None:
    assert logs.read(tmp_path / "none") == []
    (tmp_path / "log").write_text('[1]\n{"a": 1}\n\n')
    assert logs.read(tmp_path / "log") == []


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageError, match="the disk is full"):
        logs.append(tmp_path / "log", "started")
