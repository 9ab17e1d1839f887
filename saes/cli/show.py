"""Say what a dictionary is, how far a training is, or what a training's YAML file may hold.

Try:

    saes show latest         the last training: how far it is
    saes show my/latest      the last one of my.yaml
    saes show my_dictionary/
    saes show config         every key of the YAML: default, meaning, values
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import tyro
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from interp.cli.answering import as_table
from interp.errors import InputError

COLUMNS = {
    "tokens": "tokens",
    "l0": "L0",
    "explained_variance": "EV",
    "dead": "dead",
    "held_out_l0": "held-out L0",
    "held_out_explained_variance": "held-out EV",
}
"""Numbers of a training that are shown: the words for them."""


@dataclass(frozen=True)
class Config:
    """What to look at."""

    what: tyro.conf.Positional[str] = "latest"
    """The directory of a dictionary, or a training: its directory, a part of its name, or latest; config: the keys
    of the YAML file that `saes train` takes."""
    root: str = "runs"
    """Directory with the runs."""


def main(config: Config, console: Console | None = None) -> int:
    """Print it."""
    from interp.runs import find_run
    from saes.formats import native

    console = console or Console()
    if config.what == "config":
        _keys(console)
        return 0
    path = Path(config.what).expanduser()
    if (path / native.CONFIG).is_file():
        console.print(as_table(_dictionary(path)))
        return 0
    if path.is_dir() and not (path / "config.yaml").is_file():
        lacks = f"it has neither {native.CONFIG} nor config.yaml"
        raise InputError(f"{path} is neither a dictionary nor a run: {lacks}")
    _training(find_run(config.what, config.root), console)
    return 0


def _keys(console: Console) -> None:
    from saes.training.config_keys import config_keys

    for part, keys in config_keys().items():
        _say(console, f"\n{part or 'the file'}:\n")
        for key in keys:
            _say(console, f"  {key.name} ({key.type}; default: {key.default})")
            console.print(Padding(Text(key.meaning), (0, 0, 0, 6)))
    _say(console, "\nA list in place of a value of an entry of dictionaries trains one dictionary of each value.")


def _dictionary(path: Path) -> pd.DataFrame:
    from saes.formats import native

    dictionary = native.read(path)
    rows: list[tuple[str, Any]] = [
        ("architecture", dictionary.config.architecture),
        ("latents", f"{dictionary.d_sae} of activations of width {dictionary.d_in}"),
    ]
    shares = native.firing_shares(path)
    if shares is not None:
        rows += [
            ("L0", f"{float(shares.sum()):.1f} active latents per token, on held-out tokens"),
            ("dead", f"{float((shares < 1e-9).float().mean()):.1%} fired on none of them"),
        ]
    for key, value in dictionary.metadata.items():
        rows.append((key, json.dumps(value) if isinstance(value, dict | list) else value))
    return pd.DataFrame([(name, str(value)) for name, value in rows], columns=["what", str(path.name)])


def _training(path: Path, console: Console) -> None:
    from interp.runs.logs import LOG_FILE, read
    from saes.training.recording_numbers import EVENT

    entries = read(path / LOG_FILE)
    lines = [entry for entry in entries if entry["event"] == EVENT]
    last: dict[str, dict[str, Any]] = {}
    for line in lines:
        last[line["dictionary"]] = last.get(line["dictionary"], {}) | line
    ends = [entry["event"] for entry in entries if entry["event"] in ("resumed", "finished", "interrupted", "failed")]
    state = "at work, or killed" if not ends or ends[-1] == "resumed" else ends[-1]
    _say(console, f"{path}: {state}")
    if not last:
        _say(console, "no numbers yet")
        return
    frame = pd.DataFrame(list(last.values()))
    kept = ["dictionary", *(key for key in COLUMNS if key in frame)]
    console.print(as_table(frame[kept].rename(columns=COLUMNS)))
    _say(console, "L0: active latents per token. EV: explained variance. dead: share of latents.")
    if (path / "dictionaries").is_dir():
        _say(console, f"dictionaries: {path / 'dictionaries'}")
    if (path / "report.html").is_file():
        _say(console, f"report:       {path / 'report.html'}")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
