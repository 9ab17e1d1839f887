"""`Recorder`: the numbers of a training as they come, in memory, in log.jsonl, and wherever else they are wanted."""

from __future__ import annotations

import logging
from typing import Any

from interp.errors import StorageError
from interp.runs import Run
from interp.runs.logs import LOG_FILE, read
from saes.training.loggers import Logger

_LOG = logging.getLogger("saes")
EVENT = "numbers"


class Recorder:
    """lines: one for every time a dictionary's numbers were read, as plain values."""

    def __init__(self, batch_size: int, run: Run | None = None, logger: Logger | None = None) -> None:
        self.batch_size, self.run, self.logger = batch_size, run, logger
        self.lines: list[dict[str, Any]] = []
        self._warned = False

    def report(self, step: int, dictionary: str, numbers: dict[str, float]) -> None:
        """Take in what was read of a dictionary after some steps; nothing where nothing could be. A full disk costs a
        line of the log, not the run."""
        if not numbers:
            return
        tokens = step * self.batch_size
        line = {"step": step, "tokens": tokens, "dictionary": dictionary, **numbers}
        self.lines.append(line)
        if self.logger is not None:
            self.logger.send(tokens, dictionary, numbers)
        if self.run is None:
            return
        try:
            self.run.log(EVENT, **line)
        except StorageError as error:
            if not self._warned:
                _LOG.warning("%s; training goes on, and numbers are kept in memory", error)
            self._warned = True

    def whole(self) -> list[dict[str, Any]]:
        """All lines of the training, those from before an interruption too. Steps that were done again, because the
        process died after its last checkpoint, count once."""
        stored = [] if self.run is None else read(self.run.directory / LOG_FILE)
        earlier = [
            {key: value for key, value in entry.items() if key not in ("time", "event")}
            for entry in stored
            if entry["event"] == EVENT
        ]
        found = {(line["step"], line["dictionary"], "loss" in line): line for line in [*earlier, *self.lines]}
        return [found[key] for key in sorted(found, key=lambda key: (key[0], not key[2]))]
