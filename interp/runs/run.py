"""Run directories: `runs/<experiment>/<time>-<hash of the config>/`, resumed when they were not finished.

with open_run("ioi", {"model": "smollm2-135m", "n": 100, "seed": 0}) as run:
    behaviour = run.step("behaviour", lambda: measure(model, task))     # computed once, whatever interrupts
    heads = run.step("heads", lambda: sweep(model, task, over="z"))
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import shutil
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from interp.errors import InputError, StorageError, storage_error
from interp.results import Result, load
from interp.results.describing import RESULT_FILE
from interp.results.plain import plain, to_json
from interp.runs import logs
from interp.runs.environments import environment
from interp.runs.locks import lock
from interp.runs.paths import atomic_directory

_LOG = logging.getLogger("interp")

CONFIG_FILE = "config.yaml"
ENVIRONMENT_FILE = "environment.json"
RESULTS = "results"
LOCK_FILE = ".lock"


class Run:
    """A run that this process works on; nobody else can until it is closed.

    directory: where everything is kept
    config:    the settings, as plain data
    """

    def __init__(self, directory: Path, config: Mapping[str, Any], held: contextlib.ExitStack) -> None:
        """Not for callers: use `open_run`. `held` releases the lock of the run."""
        self.directory = directory
        self.config = dict(config)
        self._held = held
        self._done: set[str] = set()
        self._finished = False

    def step(self, name: str, compute: Callable[[], Result]) -> Result:
        """The result of a named step: loaded if an earlier, interrupted session finished it, else computed and stored.

        The name stands for the computation, so give every step of a run its own. Raises InputError for a name used
        twice, StorageError when the result cannot be stored.
        """
        directory = self._step_directory(name)
        if directory.joinpath(RESULT_FILE).exists():
            try:
                result = load(directory)
            except InputError as error:
                _LOG.warning("step %s is computed again: %s", name, error)
            else:
                self._done.add(name)
                self.log("step", name=name, reused=True)
                return result
        return self._compute(name, directory, compute)

    def _compute(self, name: str, directory: Path, compute: Callable[[], Result]) -> Result:
        self.log("step_started", name=name)
        began = time.monotonic()
        result = compute()
        if not isinstance(result, Result):
            raise InputError(f"step {name!r} must give a Result, not a {type(result).__name__}")
        _clear_unfinished(directory)
        result.save(directory)
        self._done.add(name)
        self.log("step", name=name, reused=False, seconds=round(time.monotonic() - began, 3))
        return result

    def _step_directory(self, name: str) -> Path:
        if self._finished:
            raise InputError(f"the run in {self.directory} is finished; open a new one for step {name!r}")
        if name in self._done:
            raise InputError(f"the step {name!r} was already done in this session; give every step its own name")
        return self.directory / RESULTS / _checked(name, "step")

    def results(self) -> dict[str, Result]:
        """Every stored result by the name of its step, in the order in which the steps were finished."""
        order = [entry["name"] for entry in logs.read(self.directory / logs.LOG_FILE) if entry["event"] == "step"]
        stored = sorted(path.parent.name for path in (self.directory / RESULTS).glob(f"*/{RESULT_FILE}"))
        names = [name for name in dict.fromkeys(order) if name in stored]
        return {name: load(self.directory / RESULTS / name) for name in dict.fromkeys([*names, *stored])}

    def path(self, name: str) -> Path:
        """A path inside the run directory for a file of your own; its parent is made. Raises InputError for `..`."""
        path = self.directory / name
        if not path.resolve().is_relative_to(self.directory.resolve()):
            raise InputError(f"{name!r} lies outside of the run; give a name inside {self.directory}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, path) from error
        return path

    def log(self, event: str, **values: object) -> None:
        """Append an event with its time and some values (plain data) to log.jsonl."""
        logs.append(self.directory / logs.LOG_FILE, event, **values)

    def finish(self) -> None:
        """Mark the run as finished, so that it will not be resumed, and let go of it. Does nothing the second time."""
        if not self._finished:
            self.log("finished")
            self._finished = True
        self.close()

    def close(self) -> None:
        """Let go of the run. If it is not finished, the next `open_run` with the same config resumes it."""
        self._held.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.finish()
            elif not self._finished and isinstance(error, InputError) and _is_empty(self.directory):
                _remove(self.directory)  # refused before anything was found: nothing to list, to resume or to report
            elif not self._finished:
                self._note_end(error)
        finally:
            self.close()

    def _note_end(self, error: BaseException) -> None:
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
        with contextlib.suppress(StorageError):  # the error that ends the run matters more than its log line
            if interrupted:
                self.log("interrupted")
            else:
                self.log("failed", error=type(error).__name__, message=str(error))
        error.add_note(f"finished steps are kept in {self.directory}")

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r})"


def open_run(experiment: str, config: Mapping[str, Any], root: str | Path = "runs", resume: bool = True) -> Run:
    """Open a run: the newest unfinished one of the same experiment and config, else a new directory.

    `config` is everything that decides the numbers, as plain data; its hash is part of the directory's name.
    With `resume=False` (on the command line: --fresh) a new directory is made in any case. Use the run as a context
    manager: it is finished when the block ends, and notes Ctrl-C and errors; an InputError before any result was stored
    leaves no run behind. Raises InputError when another process is at work on the same run, and StorageError when the
    directory cannot be made.
    """
    kept = plain(config, "config")
    folder = Path(root).expanduser() / _checked(experiment, "experiment")
    code = config_hash(kept)
    if resume:
        for directory in sorted(folder.glob(f"*-{code}"), reverse=True):
            run = _resume(directory, kept)
            if run is not None:
                return run
    return _create(folder, code, kept)


def config_hash(config: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that depend on every setting and not on their order."""
    return hashlib.sha256(to_json(_sorted(config)).encode()).hexdigest()[:8]


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _resume(directory: Path, config: dict[str, Any]) -> Run | None:
    """Take up the run in `directory`, or None when it is finished or not a run."""
    if not (directory / CONFIG_FILE).is_file() or _is_finished(directory):
        return None
    held = contextlib.ExitStack()
    busy = f"this experiment with these settings is already running in {directory}; wait, close it, or start afresh "
    busy += "with --fresh (in Python: resume=False)"
    held.enter_context(lock(directory / LOCK_FILE, busy, wait=False))
    if _is_finished(directory):  # by the process that held the lock a moment ago
        held.close()
        return None
    try:
        changed = _environment_changes(directory)
        logs.append(directory / logs.LOG_FILE, "resumed", changed=changed)
    except BaseException:
        held.close()
        raise
    done = len(list((directory / RESULTS).glob(f"*/{RESULT_FILE}")))
    kept = f" with {done} finished step{'s' * (done != 1)}" if done else ""
    _LOG.warning("going on in %s%s; --fresh starts afresh", directory, kept)
    if changed:
        _LOG.warning("its earlier steps were computed with another environment: %s", "; ".join(changed))
    return Run(directory, config, held)


def _create(folder: Path, code: str, config: dict[str, Any]) -> Run:
    started = datetime.now()
    held = contextlib.ExitStack()
    while True:
        target = folder / f"{started:%Y%m%d-%H%M%S}-{code}"
        try:
            with atomic_directory(target) as directory:
                _fill(directory, config)
                # Locked before it can be seen; the lock belongs to the file, whatever the name of its directory.
                held.enter_context(lock(directory / LOCK_FILE, "", wait=False))
            return Run(target, config, held)
        except FileExistsError:  # two runs within one second: the next one is named after the next second
            held.close()
            started += timedelta(seconds=1)
        except BaseException:
            held.close()
            raise


def _fill(directory: Path, config: dict[str, Any]) -> None:
    text = yaml.safe_dump(config, allow_unicode=True, sort_keys=False, width=120)
    (directory / CONFIG_FILE).write_text(text, encoding="utf-8")
    (directory / ENVIRONMENT_FILE).write_text(json.dumps(environment(), indent=1) + "\n", encoding="utf-8")
    (directory / RESULTS).mkdir()
    logs.append(directory / logs.LOG_FILE, "started")


def _clear_unfinished(directory: Path) -> None:
    """Remove what a process left that was killed while it stored this very step."""
    if not directory.joinpath(RESULT_FILE).exists():
        for left in (*directory.glob(".writing-*"), *directory.glob("arrays-*")):
            left.unlink(missing_ok=True)


def _is_empty(directory: Path) -> bool:
    """Whether a run holds no result and no file of its user's."""
    own = {CONFIG_FILE, ENVIRONMENT_FILE, RESULTS, LOCK_FILE, logs.LOG_FILE}
    return {path.name for path in directory.iterdir()} <= own and not any((directory / RESULTS).iterdir())


def _remove(directory: Path) -> None:
    """Take a run away, and its experiment's folder when it was the only one; the refusal matters more than failing."""
    with contextlib.suppress(OSError):
        hidden = directory.with_name(f".{directory.name}.refused")
        directory.rename(hidden)  # at once: a half-removed run would be listed
        shutil.rmtree(hidden)
        directory.parent.rmdir()


def _is_finished(directory: Path) -> bool:
    return any(entry["event"] == "finished" for entry in logs.read(directory / logs.LOG_FILE))


def _environment_changes(directory: Path) -> list[str]:
    """What differs from the environment in which the run began, as far as it can change numbers."""
    try:
        before = json.loads((directory / ENVIRONMENT_FILE).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return []
    now = environment()
    changes = [(name, before.get(name), now[name]) for name in ("python", "commit", "platform")]
    packages = before.get("packages", {})
    changes += [(name, packages.get(name), version) for name, version in now["packages"].items()]
    return [f"{name} was {old}, is {new}" for name, old, new in changes if old != new]


def _checked(name: str, what: str) -> str:
    if not re.fullmatch(r"[\w][\w.+-]{0,99}", name):
        raise InputError(f"the {what} name {name!r} becomes a directory; use letters, digits, '-', '_' and '.' only")
    return name
