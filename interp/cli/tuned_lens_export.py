"""Write a tuned lens for the Python package tuned-lens, which reads params.pt where this one keeps safetensors.

Try:
    interp tuned-lens export --lens my_lens --to for_tuned_lens

There, `TunedLens.from_model_and_pretrained(model, "for_tuned_lens")` reads it. The lens itself stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from interp.cli.tuned_texts import stored_lens
from interp.errors import InputError
from interp.lens import export_tuned_lens
from interp.lens.translators import CONFIG


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `interp tuned-lens export`."""

    lens: str
    """The directory of a lens (config.json, params.safetensors), or of a run that holds one."""
    to: str
    """The directory to write config.json and params.pt into; one that holds no lens yet."""


def main(config: Config, console: Console | None = None) -> int:
    """Read the lens, write both files, print where."""
    found = stored_lens(config.lens)
    if (Path(config.to).expanduser() / CONFIG).exists():
        raise InputError(f"{config.to} holds a {CONFIG} already; choose another directory for --to")
    directory = export_tuned_lens(found, config.to)
    (console or Console()).print(
        f"{found.n_layers} translators: {directory}", markup=False, highlight=False, soft_wrap=True
    )
    return 0
