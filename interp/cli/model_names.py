"""Refusing a model that does not exist before anything slow is imported, which takes seconds and, on a busy machine,
minutes."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path

from interp.errors import unknown
from interp.models.catalogue import PREPARED, canonical, catalogue_names, offline_names
from interp.models.hub import find_on_hub
from interp.models.toy import COMPILED, TOYS

OPTION = "--model"


def check_model_names(arguments: Sequence[str]) -> None:
    """Raise InputError where an argument `--model NAME` names nothing that can be loaded.

    Only what costs little is asked: our own names, and then the hub whether it has the model. Directories and whatever
    else can be wrong are left to `load_model`.
    """
    for name in given_names(arguments):
        full = canonical(name)
        if full.startswith("toy/"):
            if full not in TOYS and full not in COMPILED:
                raise unknown("toy model", full, (*TOYS, *COMPILED))
        elif full not in PREPARED and not _may_be_a_directory(name):
            # What the hub's own client logs about a failure says less than the sentence that follows.
            logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
            find_on_hub(full, None, offline_names(), catalogue_names())


def given_names(arguments: Sequence[str]) -> list[str]:
    """What stands behind `--model`, in one word with it or in two."""
    names = [word.removeprefix(f"{OPTION}=") for word in arguments if word.startswith(f"{OPTION}=")]
    return names + [after for word, after in itertools.pairwise(arguments) if word == OPTION]


def _may_be_a_directory(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name or Path(name).expanduser().exists()
