"""Logs of runs: one JSON object a line, only ever appended to, so that a killed process loses at most one line."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from interp.errors import storage_error
from interp.results.plain import from_json, plain, to_json

LOG_FILE = "log.jsonl"


def append(path: Path, event: str, **values: object) -> None:
    """Append one event with the time. Values are made plain data. Raises StorageError when the disk refuses."""
    time = datetime.now(UTC).astimezone().isoformat(timespec="milliseconds")
    entry = {"time": time, "event": event, **plain(values, f"log event {event!r}")}
    try:
        with path.open("ab") as file:
            start = "\n" if _is_torn(path) else ""
            # One write call, which O_APPEND keeps together even with several writers.
            file.write(f"{start}{to_json(entry)}\n".encode())
    except OSError as error:
        raise storage_error(error, path) from error


def read(path: Path) -> list[dict[str, Any]]:
    """All whole events, oldest first. Lines that a crash or a full disk cut short are left out; no file is no event."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    entries = []
    for line in lines:
        try:
            entry = from_json(line.decode("utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError):
            continue
        if isinstance(entry, dict) and "event" in entry and "time" in entry:
            entries.append(entry)
    return entries


def _is_torn(path: Path) -> bool:
    """Whether the last line lacks its end, so that the next event must start a new one."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
