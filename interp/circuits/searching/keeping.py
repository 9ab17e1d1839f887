"""What a long search keeps on disk, so that Ctrl-C costs nothing that was decided."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from interp.circuits.searching.damage import Damage
from interp.circuits.searching.nested_masks import Mask, State, Trials, decide_all, restored
from interp.errors import InputError, StorageError
from interp.runs import atomic_write, cache_dir, progress
from interp.runs.run import config_hash

_LOG = logging.getLogger("interp")

FORMAT = 1
SAVE_EVERY = 10.0
"""Seconds between two writes while a search goes on."""


class SearchFile:
    """The decisions of an unfinished search, stage by stage; the file is removed when the search has finished.

    where: True for a file of its own in the cache directory, found again by a search with the same settings; False for
    none; or a path, for example `run.path("acdc.json")` of an open run. Raises InputError for a path that holds
    another search.
    """

    def __init__(self, where: str | Path | bool, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)
        self.path: Path | None = None
        if where is True:
            self.path = cache_dir() / "searches" / f"{config_hash(self.settings)}.json"
        elif where is not False:
            self.path = Path(where)
        self._stages: dict[str, dict[str, Any]] = self._read()
        self._saved = time.monotonic()

    def run(self, stage: str, trials: Trials, start: Mask, damage: Damage, threshold: float, about: str) -> State:
        """Decide all trials, from where an earlier session was interrupted, with progress."""
        state = self._resumed(stage, trials, start, damage)
        with progress(len(trials), about) as bar, self._saving(stage, trials) as latest:
            latest.append(state)
            bar.resume(state.n_decided)

            def decided(now: State) -> None:
                before, latest[:] = latest[-1], [now]  # first of all: Ctrl-C may come while progress is printed
                bar.advance(now.n_decided - before.n_decided)
                if time.monotonic() - self._saved > SAVE_EVERY:
                    self._save(stage, now)

            state = decide_all(trials, state, damage, threshold, decided)
        self._note(stage, state)
        return state

    def forget(self) -> None:
        """The search has finished: remove the file."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _resumed(self, stage: str, trials: Trials, start: Mask, damage: Damage) -> State:
        kept = self._stages.get(stage)
        if kept is None:
            return State(0, (), start, float(damage(start[None])[0]), n_circuits=1, n_batches=1)
        n_decided, names = int(kept["n_decided"]), tuple(int(trial) for trial in kept["kept"])
        if n_decided < len(trials):
            _LOG.warning(
                "resuming %s at %d of %d decisions; resume=False starts afresh", self.path, n_decided, len(trials)
            )
        mask = restored(trials, start, n_decided, names)
        return State(n_decided, names, mask, kept["damage"], kept["n_circuits"], kept["n_batches"])

    @contextlib.contextmanager
    def _saving(self, stage: str, trials: Trials) -> Iterator[list[State]]:
        """Keep the latest state when the block is left by an error or by Ctrl-C."""
        latest: list[State] = []
        try:
            yield latest
        except BaseException as error:
            if self.path is not None and latest and latest[-1].n_decided:
                # What ended the search matters more than a disk that does not take its decisions.
                with contextlib.suppress(StorageError):
                    self._save(stage, latest[-1])
                    done = f"{latest[-1].n_decided} of {len(trials)} decisions"
                    error.add_note(f"{done} are kept in {self.path}; the same search goes on from there")
            raise

    def _note(self, stage: str, state: State) -> None:
        self._stages[stage] = {
            "n_decided": state.n_decided,
            "kept": list(state.kept),
            "damage": state.damage,
            "n_circuits": state.n_circuits,
            "n_batches": state.n_batches,
        }

    def _save(self, stage: str, state: State) -> None:
        self._note(stage, state)
        if self.path is not None:
            content = {"format": FORMAT, "settings": self.settings, "stages": self._stages}
            atomic_write(self.path, json.dumps(content) + "\n")
        self._saved = time.monotonic()

    def _read(self) -> dict[str, dict[str, Any]]:
        if self.path is None or not self.path.exists():
            return {}
        try:
            content = json.loads(self.path.read_text())
            theirs, stages, form = content["settings"], content["stages"], content["format"]
        except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise InputError(f"{self.path} holds no unfinished search; give another path, or delete it") from error
        ours = json.loads(json.dumps(self.settings))
        different = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
        if different or form != FORMAT:
            raise InputError(
                f"{self.path} holds a search with another {different[0] if different else 'format'}; give another "
                "path, delete it, or use resume=False"
            )
        return dict(stages)


def mask_code(mask: Mask) -> str:
    """A few characters that tell masks apart."""
    return config_hash({"edges": torch.nonzero(mask.flatten())[:, 0].tolist()})
