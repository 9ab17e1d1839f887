"""Loading a model: one function for the hub, a directory, the house model, the toys, and objects made elsewhere.

Every model comes back as a TransformerLens `TransformerBridge` in eval mode, with eager attention (so that attention
patterns exist and equal Hugging Face's eager ones) and with gradients off for its parameters. Weights are as they
were trained: nothing is folded or centred.
"""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformer_lens.utilities.attn_implementation import force_eager_attention
from transformers import PreTrainedModel

from interp.errors import InputError, nearest
from interp.models.catalogue import PREPARED, canonical, catalogue_names, offline_names
from interp.models.device import resolve_device
from interp.models.hub import find_on_hub
from interp.models.identifying import remember_origin
from interp.models.prepared import damage, prepare
from interp.models.quiet import quiet_transformers, random_weights
from interp.models.toy import toy_module

_LOG = logging.getLogger("interp")


def load_model(
    name_or_object: str | os.PathLike[str] | TransformerBridge | PreTrainedModel,
    *,
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
    revision: str | None = None,
    device_map: str | dict[str, Any] | None = None,
    n_ctx: int | None = None,
    tokenizer: Any = None,
) -> TransformerBridge:
    """A model ready to be studied: eval mode, eager attention, parameters without gradients, unprocessed weights.

    `name_or_object` is a Hugging Face id ("gpt2"), a local directory, "smollm2-135m" (the house model, which needs no
    hub), "toy/induction" and other toys, a `TransformerBridge`, or a Hugging Face model, which is wrapped and changed
    in place (`tokenizer` goes with it; else the one it was loaded with is used when it is on this machine).

    `device` is "auto" (CUDA where usable, else CPU) or a torch device; `dtype` is float32 unless given; objects stay on
    their device and in their dtype unless these are given. `revision` is a branch, tag or commit on the hub;
    `device_map` spreads a model over devices (as in transformers) and excludes `device`; `n_ctx` overrides the context
    length. Raises InputError for what cannot be loaded, with the nearest names or the names that work offline, and
    StorageError when the cache cannot be written.
    """
    options = {"revision": revision, "device_map": device_map, "n_ctx": n_ctx}
    if device_map is not None and str(device) != "auto":
        raise InputError("device and device_map exclude each other; give one of them")
    if isinstance(name_or_object, TransformerBridge):
        _refuse("a model object", **options, tokenizer=tokenizer)
        return _freeze(_moved(name_or_object, device, dtype))
    if isinstance(name_or_object, PreTrainedModel):
        _refuse("a model object", **options)
        return _freeze(_wrapped(_moved(name_or_object, device, dtype), tokenizer))
    if not isinstance(name_or_object, (str, os.PathLike)):
        kind = type(name_or_object).__name__
        raise InputError(f"cannot load a {kind}; give a name, a directory, a TransformerBridge or a Hugging Face model")
    _refuse("a model by name, which has its own", tokenizer=tokenizer)
    return _freeze(_by_name(canonical(os.fspath(name_or_object)), device, dtype or torch.float32, options))


@dataclass(frozen=True)
class _Source:
    """Where a model's files are, and under which name it is known."""

    place: str
    """A directory, or the name on the hub."""
    name: str
    revision: str | None
    on_hub: bool = False


def _by_name(name: str, device: str | torch.device, dtype: torch.dtype, options: dict[str, Any]) -> TransformerBridge:
    if name.startswith("toy/"):
        _refuse(name, **options)
        model = toy_module(name).build().to(device=resolve_device(device), dtype=dtype, print_details=False)
        source = _Source(name, name, revision=None)
    else:
        source = _find(name, options["revision"])
        # The commit that was found, so that a branch cannot move meanwhile; a directory has no revisions.
        options = {**options, "revision": source.revision if source.on_hub else None}
        model = _boot_or_mend(source, device, dtype, options)
    remember_origin(model, source.name, source.revision)
    return model


def _find(name: str, revision: str | None) -> _Source:
    if name in PREPARED:
        _refuse(name, revision=revision)
        return _Source(str(prepare(PREPARED[name])), name, PREPARED[name].revision)
    if (directory := _local_directory(name)) is not None:
        _refuse("a local directory", revision=revision)
        return _Source(str(directory), directory.resolve().name, revision=None)
    found = find_on_hub(name, revision, offline_names(), catalogue_names())
    if not found.cached:
        _LOG.warning("downloading %s from the Hugging Face hub", name)
    return _Source(found.source, name, found.revision, on_hub=found.source == name)


def _boot_or_mend(
    source: _Source, device: str | torch.device, dtype: torch.dtype, options: dict[str, Any]
) -> TransformerBridge:
    """Boot; a kept model that fails to, and whose files turn out to be damaged, is made again first."""
    try:
        return _boot(source, device, dtype, options)
    except InputError:
        kept = PREPARED.get(source.name)
        if kept is None or damage(kept, hashes=True) is None:
            raise
        prepare(kept, hashes=True)
    return _boot(source, device, dtype, options)


def _boot(
    source: _Source, device: str | torch.device, dtype: torch.dtype, options: dict[str, Any]
) -> TransformerBridge:
    placed = {} if options["device_map"] is not None else {"device": resolve_device(device)}
    try:
        with quiet_transformers() as said:
            model = TransformerBridge.boot_transformers(source.place, dtype=dtype, **placed, **options)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a file, the network, an architecture: whatever it is, the model cannot be had
        reason = " ".join(str(error).split())[:400] or type(error).__name__
        raise InputError(f"cannot load {source.name}: {reason}") from error
    if absent := random_weights(said):
        shown = ", ".join(absent[:3]) + (f" and {len(absent) - 3} more" if len(absent) > 3 else "")
        raise InputError(
            f"cannot load {source.name}: its files lack weights, which would be random ({shown}); "
            "give a whole language model, or pass the model object if that is what you want"
        )
    return model


def _local_directory(name: str) -> Path | None:
    """The directory that `name` means, None when it rather is a hub id. Refuses a path to nothing loadable."""
    path = Path(name).expanduser()
    if (path / "config.json").is_file():
        return path
    if not _looks_like_a_path(name):
        return None
    if path.is_dir():
        raise InputError(f"{name} holds no model: config.json is missing; give a directory made by save_pretrained")
    beside = [str(path.parent / other.name) for other in path.parent.glob("*/") if (other / "config.json").is_file()]
    hint = nearest(str(path), sorted(beside)) if beside else ""
    raise InputError(f"there is no model directory {name!r}{hint}")


def _looks_like_a_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


def _wrapped(hf_model: PreTrainedModel, tokenizer: Any) -> TransformerBridge:
    """A bridge around a Hugging Face model in memory; never asks the hub for anything."""
    origin = str(getattr(hf_model.config, "_name_or_path", "") or type(hf_model).__name__)
    name = Path(origin).name if Path(origin).is_absolute() or origin.startswith(".") else origin
    commit = getattr(hf_model.config, "_commit_hash", None)
    force_eager_attention(hf_model)
    with quiet_transformers():
        model = build_bridge_from_module(
            hf_model,
            type(hf_model).__name__,
            hf_config=hf_model.config,
            tokenizer=_tokenizer_at(origin, commit) if tokenizer is None else _with_bos(tokenizer),
            model_name=name,
        )
    remember_origin(model, name, commit)
    return model


def _tokenizer_at(origin: str, commit: str | None) -> Any:
    """The tokenizer that lies beside a model on this machine, None when there is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(origin, revision=commit, local_files_only=True, add_bos_token=True)
    except (OSError, ValueError, KeyError):
        return None


def _with_bos(tokenizer: Any) -> Any:
    """The tokenizer in the form the bridge wants, made on this machine: the bridge would ask the hub for it."""
    from transformers import AutoTokenizer

    if tokenizer.bos_token is None or getattr(tokenizer, "add_bos_token", False):
        return tokenizer
    with tempfile.TemporaryDirectory() as directory:
        tokenizer.save_pretrained(directory)
        return AutoTokenizer.from_pretrained(directory, local_files_only=True, add_bos_token=True)


def _moved(model: Any, device: str | torch.device, dtype: torch.dtype | None) -> Any:
    if str(device) != "auto":
        model.to(resolve_device(device))
    if dtype is not None:
        model.to(dtype)
    return model


def _freeze(model: TransformerBridge) -> TransformerBridge:
    force_eager_attention(model.original_model)
    for parameter in (*model.parameters(), *model.original_model.parameters()):
        parameter.requires_grad_(False)
    return model.eval()


def _refuse(what: str, **options: object) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise InputError(
            f"{' and '.join(given)} cannot be given for {what}; leave {'it' if len(given) == 1 else 'them'} out"
        )
