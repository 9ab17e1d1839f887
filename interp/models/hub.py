"""Finding a model on the Hugging Face hub, or in its cache when the hub cannot be reached, without long waits."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from interp.errors import InputError

_SECONDS = 8.0
"""How long the hub may take to answer the one question whether it has the model."""


@dataclass(frozen=True)
class Found:
    """Where a hub model is to be loaded from."""

    source: str
    """Its name, or the directory of the cached copy when the hub cannot be reached."""
    revision: str | None
    """The commit, so that the result can name it."""
    cached: bool


def find_on_hub(name: str, revision: str | None, offline: tuple[str, ...], ours: tuple[str, ...]) -> Found:
    """Where to load `name` from. `offline` are the names that need no hub, `ours` those of our own catalogue.

    Raises InputError, within seconds, when the hub is out of reach and nothing is cached, when it knows no such model
    or revision, and when the model is closed to this user.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    cached = cached_copy(name, revision)
    try:
        info = HfApi().model_info(name, revision=revision, timeout=_SECONDS)
    except HFValidationError:
        raise InputError(f"{name!r} is not the name of a model{_guess(name, ours)}") from None
    except GatedRepoError as error:
        raise InputError(f"{name} is closed to you: accept its licence on the hub and set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise InputError(f"{name} has no revision {revision!r}; use a branch, tag or commit of it, or None") from error
    except RepositoryNotFoundError as error:
        hint = _guess(name, ours) or "; if it is private, set HF_TOKEN"
        raise InputError(f"the Hugging Face hub has no model {name!r}{hint}") from error
    except Exception as error:  # no network, name resolution, time-outs, proxies, HF_HUB_OFFLINE: each its own class
        if cached is not None:
            return Found(str(cached), cached.name, cached=True)
        raise InputError(
            f"the Hugging Face hub cannot be reached ({_reason(error)}) and {name!r} is not in its cache; "
            f"these work offline: {', '.join(offline)}, and local directories{_guess(name, ours)}"
        ) from error
    return Found(name, info.sha, cached=cached is not None and cached.name == info.sha)


def cached_copy(name: str, revision: str | None = None) -> Path | None:
    """The directory of a hub model in the hub's own cache (named by its commit), None when it is not there whole."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError:
        return None
    if not isinstance(config, str):
        return None
    directory = Path(config).parent
    weights = [*directory.glob("*.safetensors"), *directory.glob("*.bin")]
    return directory if weights else None


def files_from_hub(repository: str, patterns: Sequence[str], revision: str | None = None) -> Path:
    """A directory with the files of a repository that match, out of the hub's own cache or fetched into it.

    Raises InputError when the repository is unknown, or the hub is out of reach and its cache holds nothing.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(patterns)))
    except Exception as error:  # the hub's errors have no common class, and all mean the same to the caller
        raise InputError(
            f"{repository} is neither a directory nor a repository that the hub gives out ({type(error).__name__}); "
            "check the name, the network and your access"
        ) from error


def cached_names() -> tuple[str, ...]:
    """Names of the models that the hub's own cache holds, in alphabetical order."""
    from huggingface_hub import constants

    folders = sorted(Path(constants.HF_HUB_CACHE).glob("models--*"))
    names = (folder.name.removeprefix("models--").replace("--", "/") for folder in folders)
    return tuple(name for name in names if cached_copy(name) is not None)


def _guess(name: str, ours: tuple[str, ...]) -> str:
    """The nearest known names, ours and those TransformerLens knows of, as the end of a message; else nothing."""
    known = dict.fromkeys((*ours, *_supported_names()))
    if name in known:
        return ""
    # Twins of a name under other owners would crowd out the right one, so the part after the slash counts for itself.
    tails = {candidate.rpartition("/")[2].lower(): candidate for candidate in reversed(known)}
    tail = name.rpartition("/")[2].lower()
    close = difflib.get_close_matches(name, ours, n=2, cutoff=0.7) + difflib.get_close_matches(name, known, cutoff=0.8)
    close += [tails[near] for near in difflib.get_close_matches(tail, tails, cutoff=0.8)]
    close = list(dict.fromkeys(close))[:3]
    return f"; did you mean {' or '.join(repr(candidate) for candidate in close)}?" if close else ""


@functools.cache
def _supported_names() -> tuple[str, ...]:
    """Hub ids that TransformerLens lists as supported, the most downloaded first; empty when its list is unreadable.

    Its list is read as a file: importing the library takes seconds, and the answer is only part of an error message.
    """
    try:
        (folder,) = find_spec("transformer_lens").submodule_search_locations  # type: ignore[union-attr, misc]
        path = Path(folder) / "tools" / "model_registry" / "data" / "supported_models.json"
        return tuple(entry["model_id"] for entry in json.loads(path.read_text(encoding="utf-8"))["models"])
    except Exception:  # a convenience for an error message must not become the error
        return ()


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "offline mode is enabled" in str(error):
        return "HF_HUB_OFFLINE is set"
    return lines[0][:120] if lines else type(error).__name__
