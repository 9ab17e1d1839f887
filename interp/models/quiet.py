"""Loading without the libraries' progress bars and advice, but not without what they would have said that matters."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator

_LOADER = logging.getLogger("transformers.modeling_utils")


@contextlib.contextmanager
def quiet_transformers() -> Iterator[list[str]]:
    """Within the block transformers and huggingface_hub show no bars and only errors; afterwards as before.

    Yields the list into which the loader's warnings go instead, for `random_weights`.
    """
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging as transformers_logging

    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    hub_bars = not are_progress_bars_disabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
    try:
        with warnings.catch_warnings(), _overheard() as said:
            warnings.simplefilter("ignore")
            yield said
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
        if hub_bars:
            enable_progress_bars()


def random_weights(said: list[str]) -> list[str]:
    """Names of weights that a checkpoint lacks and that transformers, with no more than a warning, drew at random."""
    rows = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(said))
    return sorted(re.findall(r"^(\S.*?) *\| *MISSING\b", rows, flags=re.MULTILINE))


@contextlib.contextmanager
def _overheard() -> Iterator[list[str]]:
    """Keep the loader's warnings to ourselves: TransformerLens silences them for good when it is imported."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    level, propagate = _LOADER.level, _LOADER.propagate
    _LOADER.addHandler(handler)
    _LOADER.setLevel(logging.WARNING)
    _LOADER.propagate = False
    try:
        yield said
    finally:
        _LOADER.removeHandler(handler)
        _LOADER.setLevel(level)
        _LOADER.propagate = propagate
