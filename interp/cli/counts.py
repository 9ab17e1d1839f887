"""How many of something an option asks for: checked before anything is loaded."""

from __future__ import annotations

from typing import Any

from interp.errors import InputError


def check_counts(config: Any, **least: int) -> None:
    """Refuse options of the command below these numbers, in the order given; options that were left out pass."""
    for name, number in least.items():
        given = getattr(config, name)
        if given is not None and given < number:
            raise InputError(f"--{name.replace('_', '-')} {given} is too few; use at least {number}")


def fitting_count(name: str, given: int | None, usual: int, most: int) -> int:
    """What was given, or the usual number or as many as there are. Raises InputError for more than there are."""
    if given is not None and given > most:
        raise InputError(f"--{name} {given} is too many; there are {most} here")
    return min(usual, most) if given is None else given
