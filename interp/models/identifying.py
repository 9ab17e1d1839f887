"""Who a model is: its name and revision, and hashes of its weights and tokenizer. Computed once per model object."""

from __future__ import annotations

import hashlib
import json
import os
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

_Stamp = tuple[Any, ...]
_origins: weakref.WeakKeyDictionary[Any, tuple[str, str | None]] = weakref.WeakKeyDictionary()
_known: weakref.WeakKeyDictionary[Any, tuple[_Stamp, dict[str, Any]]] = weakref.WeakKeyDictionary()


def identity(model: TransformerBridge) -> dict[str, Any]:
    """What identifies `model`, as plain JSON.

    Keys: id, revision, weights_sha256, tokenizer_sha256, dtype, device, processing. `weights_sha256` covers names,
    dtypes, shapes and bytes and does not depend on the device; `processing` is "raw" or "compatibility mode"
    (TransformerLens's folded and centred weights). Half a second for 135M parameters, then remembered for as long as
    the model lives and its weights are not written to.
    """
    weights = _weights(model)
    stamp = _stamp(model, weights)
    known = _known.get(model)
    if known is None or known[0] != stamp:
        known = (stamp, _identify(model, weights))
        _known[model] = known
    return dict(known[1])


def remember_origin(model: TransformerBridge, name: str, revision: str | None) -> None:
    """Note under which name and revision a model was loaded, for `identity`."""
    _origins[model] = (name, revision)
    model.cfg.model_name = name


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """Hash of named tensors: for each in the order of names, its name, dtype, shape and the hash of its bytes."""
    unique = {_place(tensor): tensor for tensor in weights.values()}  # tied weights and aliases are read once
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        digests = dict(zip(unique, pool.map(_bytes_sha256, unique.values())))
    total = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name]
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {digests[_place(tensor)]}\n".encode())
    return total.hexdigest()


def tokenizer_sha256(tokenizer: Any) -> str | None:
    """Hash of what a tokenizer does: its vocabulary, rules and special tokens. None for no tokenizer."""
    if tokenizer is None:
        return None
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        rules: Any = [type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())]
    else:
        rules = json.loads(backend.to_str())
        for transient in ("padding", "truncation"):  # set by whoever tokenised a batch last
            rules.pop(transient, None)
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    return hashlib.sha256(json.dumps([rules, special], sort_keys=True).encode()).hexdigest()


def _identify(model: TransformerBridge, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    name, revision = _origins.get(model, (str(model.cfg.model_name), None))
    first = next(iter(weights.values()))
    return {
        "id": name,
        "revision": revision,
        "weights_sha256": weights_sha256(weights),
        "tokenizer_sha256": tokenizer_sha256(model.tokenizer),
        "dtype": str(first.dtype).removeprefix("torch."),
        "device": str(first.device),
        "processing": "compatibility mode" if getattr(model, "compatibility_mode", False) else "raw",
    }


def _weights(model: TransformerBridge) -> dict[str, Tensor]:
    """The wrapped model's parameters and persistent buffers under its own names, without the bridge's wrapping."""
    state = model.original_model.state_dict()
    return {name.replace("_original_component.", ""): tensor for name, tensor in state.items()}


def _stamp(model: TransformerBridge, weights: Mapping[str, Tensor]) -> _Stamp:
    """Changes whenever a weight is replaced or written to in place (other than through `.data`)."""
    versions = [(_place(tensor), 0 if tensor.is_inference() else tensor._version) for tensor in weights.values()]
    return (*versions, id(model.tokenizer), getattr(model, "compatibility_mode", False), _origins.get(model))


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return (tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())


def _bytes_sha256(tensor: Tensor) -> str:
    flat = tensor.detach().contiguous().cpu().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).hexdigest()
