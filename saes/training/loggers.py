"""Where the numbers of a training go beside log.jsonl: nowhere, or to wandb or trackio, whose functions agree."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

from interp.errors import InputError, unknown

LOGGERS = ("none", "wandb", "trackio")
_HELP = {
    "wandb": "log in with `wandb login` or WANDB_API_KEY, or keep its files here with WANDB_MODE=offline",
    "trackio": "see its documentation",
}


def check_logger(kind: str) -> None:
    """Raise InputError for a logger that does not exist, or whose package is missing."""
    if kind not in LOGGERS:
        raise unknown("logger", kind, LOGGERS)
    if kind != "none" and importlib.util.find_spec(kind) is None:
        raise InputError(
            f"the logger {kind} needs the package {kind}: pip install {kind}, or use logger: none "
            "(the numbers go to log.jsonl in any case)"
        )


class Logger:
    """Sends numbers on. kind: one of `LOGGERS`; with none nothing happens.

    project, run: names there; a run that is resumed goes on under its name. settings: plain values shown with it.
    Raises InputError where the library refuses, such as for want of a key.
    """

    def __init__(self, kind: str, project: str, run: str, settings: Mapping[str, Any]) -> None:
        check_logger(kind)
        self._library: Any = None if kind == "none" else importlib.import_module(kind)
        if self._library is None:
            return
        # trackio knows a run by its name, wandb by its id.
        options = {"id": run} if kind == "wandb" else {}
        try:
            self._library.init(project=project, name=run, config=dict(settings), resume="allow", **options)
        except Exception as error:  # the libraries' errors have no common class
            why = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(f"the logger {kind} does not begin ({why}); {_HELP[kind]}, or use logger: none") from error

    def send(self, tokens: int, dictionary: str, numbers: Mapping[str, float]) -> None:
        """A dictionary's numbers after so many tokens."""
        if self._library is not None:
            self._library.log({f"{dictionary}/{name}": value for name, value in numbers.items()}, step=tokens)

    def close(self) -> None:
        """Send what is left."""
        if self._library is not None:
            self._library.finish()
