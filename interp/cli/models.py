"""List the models that can be loaded, which of them are in the cache, and how large they are.

Besides those listed, every Hugging Face id that TransformerLens supports and every local directory made by
`save_pretrained` can be given as a model.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from interp.models.catalogue import PREPARED, Entry, entries
from interp.models.prepared import damage, prepare
from interp.runs import cache_dir


@dataclass(frozen=True)
class Config:
    """What to do with the models."""

    verify: bool = False
    """Read every byte of the models that were prepared here, and make damaged ones again."""


def main(config: Config, console: Console | None = None) -> int:
    """Print the catalogue, after verifying what is kept when that was asked for."""
    console = console or Console()
    if config.verify:
        for name in PREPARED:
            _say(console, f"{name}: {_verified(name)}")
    table = Table(
        "model", "size", "here", "source", "description", box=None, header_style="bold", pad_edge=False, expand=False
    )
    table.columns[0].overflow = "fold"  # never cut a name that is to be copied
    table.columns[1].justify = "right"
    for entry in entries():
        table.add_row(*(Text(cell) for cell in _row(entry)))
    console.print(table)
    _say(console, "any other Hugging Face id or local directory can be given as well")
    _say(console, f"cache: {cache_dir()} (INTERP_CACHE moves it)")
    return 0


def _row(entry: Entry) -> tuple[str, ...]:
    name = "\n".join((entry.name, *(f"  or {alias}" for alias in entry.aliases)))
    return (name, _size(entry.n_bytes), "yes" if entry.cached else "", entry.source, entry.description)


def _size(n_bytes: int | None) -> str:
    if n_bytes is None:
        return ""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def _verified(name: str) -> str:
    model = PREPARED[name]
    found = damage(model, hashes=True)
    if found == "missing":
        return "not in the cache"
    if found is None:
        return "every file has its SHA-256"
    prepare(model, hashes=True)
    return f"was damaged ({found}) and has been made again"


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
