"""Run notebooks and write each as one HTML page that works without a network.

Without names: the notebooks of experiments/notebooks.

    python scripts/notebooks_to_html.py
    python scripts/notebooks_to_html.py experiments/notebooks/tour_of_a_model.ipynb --set MODEL=gpt2 N=4
    python scripts/notebooks_to_html.py my_notebook.ipynb --stored     # with the outputs it has
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from interp.cli.programs import description_of
from interp.errors import InputError
from interp.viz import notebook_page

OURS = Path(__file__).resolve().parents[1] / "experiments" / "notebooks"


@dataclass(frozen=True)
class Config:
    """What to write, and where."""

    notebooks: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Notebooks; default: all of experiments/notebooks."""
    out: Path = Path("runs/notebooks")
    """Directory of the pages."""
    stored: tyro.conf.FlagCreatePairsOff[bool] = False
    """Show the outputs that are stored in the notebooks instead of running them."""
    assignments: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="NAME=VALUE")] = field(default=())
    """Parameters that replace those of the cell tagged "parameters"; values are JSON, or else text."""


def parameter(assignment: str) -> tuple[str, Any]:
    """Name and value of "NAME=VALUE"."""
    name, sign, text = assignment.partition("=")
    if not sign:
        raise InputError(f"--set takes NAME=VALUE, not {assignment!r}")
    try:
        return name, json.loads(text)
    except json.JSONDecodeError:
        return name, text


def main(config: Config) -> int:
    """Write the pages and say where they are."""
    parameters = dict(parameter(one) for one in config.assignments)
    for path in config.notebooks or sorted(OURS.glob("*.ipynb")):
        out = config.out / f"{path.stem}.html"
        print(f"{path.name} ...", flush=True)
        print(notebook_page(path, out, execute=not config.stored, parameters=parameters))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Config, description=description_of(__doc__ or ""))))
    except InputError as error:
        sys.exit(str(error))
