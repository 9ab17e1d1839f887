"""The native format: SAELens's layout, so that either library reads what the other wrote.

    <directory>/sae_weights.safetensors     W_enc [d_in, d_sae], b_enc, W_dec [d_sae, d_in], b_dec, threshold (JumpReLU)
    <directory>/cfg.json                    architecture, sizes, and metadata: model, site, BOS, context, data
    <directory>/sparsity.safetensors        optional: sparsity [d_sae], log10(share of tokens a latent fires on + 1e-10)

A dictionary is written in its folded form, with unit directions and without input normalisation; BatchTopK and
Matryoshka dictionaries are JumpReLU dictionaries from then on, and say in the metadata what they were.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from interp.errors import InputError, unknown
from interp.runs import atomic_directory
from saes.architectures import Dictionary, DictionaryConfig, JumpReLU, JumpReLUDictionary, Standard, TopK

WEIGHTS, CONFIG, SPARSITY = "sae_weights.safetensors", "cfg.json", "sparsity.safetensors"
SAELENS_VERSION = "6.54.12"
"""The version whose layout this is; SAELens rewrites the configuration of files that name none from 6 on."""
ARCHITECTURES = ("standard", "topk", "jumprelu")
OTHER = ("abstopk", "gated", "matching_pursuit", "transcoder", "skip_transcoder", "jumprelu_transcoder", "temporal")
"""SAELens's architectures that have no counterpart here yet."""
LOG_FLOOR = 1e-10


def write(dictionary: Dictionary, path: Path, firing: Float[Tensor, " d_sae"] | None = None) -> Path:
    """Write a dictionary's folded form to a new directory, whole or not at all.

    firing: share of tokens each latent fires on. Raises InputError when the directory already holds something,
    StorageError when the disk refuses.
    """
    plain = dictionary.fold()
    try:
        with atomic_directory(path) as directory:
            save_file(_tensors(plain), directory / WEIGHTS)
            text = json.dumps(_config(dictionary, plain), indent=2, sort_keys=True) + "\n"
            (directory / CONFIG).write_text(text, encoding="utf-8")
            if firing is not None:
                log = torch.log10(firing.float().cpu() + LOG_FLOOR)
                save_file({"sparsity": log.contiguous()}, directory / SPARSITY)
    except FileExistsError as error:
        raise InputError(f"{path} already exists; delete it or choose another place for the dictionary") from error
    return path


def read(path: str | Path) -> Dictionary:
    """The dictionary in a directory of this layout, written by this library or by SAELens.

    Raises InputError for a missing or damaged file, an architecture without a counterpart here, or tensors whose sizes
    contradict the configuration.
    """
    directory = Path(path)
    if not (directory / CONFIG).is_file() or not (directory / WEIGHTS).is_file():
        raise InputError(f"{directory} holds no dictionary: it needs {CONFIG} and {WEIGHTS}")
    try:
        config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(directory / WEIGHTS)
    except (ValueError, SafetensorError) as error:
        raise InputError(f"the dictionary in {directory} is damaged: {error}") from error
    dictionary = _build(config, directory)
    _fill(dictionary, tensors, directory)
    dictionary.metadata = dict(config.get("metadata", {})) | _from_top_level(config)
    return dictionary.requires_grad_(False)


def firing_shares(path: str | Path) -> Float[Tensor, " d_sae"] | None:
    """The share of tokens each latent fires on, where the directory says so."""
    file = Path(path) / SPARSITY
    return 10 ** load_file(file)["sparsity"] - LOG_FLOOR if file.is_file() else None


def _tensors(plain: Dictionary) -> dict[str, Tensor]:
    return {name: tensor.detach().float().cpu().contiguous() for name, tensor in _parameters(plain).items()}


def _parameters(d: Dictionary) -> dict[str, Tensor]:
    """The tensors by their names in the file."""
    named = {"W_enc": d.W_enc, "b_enc": d.b_enc, "W_dec": d.W_dec, "b_dec": d.b_dec}
    return named | ({"threshold": d.threshold} if isinstance(d, JumpReLUDictionary) else {})


def _config(trained: Dictionary, plain: Dictionary) -> dict[str, Any]:
    config: dict[str, Any] = {
        "architecture": plain.config.architecture,
        "d_in": plain.d_in,
        "d_sae": plain.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": plain.config.apply_b_dec_to_input,
        "normalize_activations": "none",
        "reshape_activations": "none",
    }
    if isinstance(plain.config, TopK):
        config |= {"k": plain.config.k, "rescale_acts_by_decoder_norm": False}
    metadata = {"training_architecture": trained.config.architecture, "training_config": trained.config.to_dict()}
    config["metadata"] = metadata | dict(trained.metadata) | {"sae_lens_version": SAELENS_VERSION}
    return config


def _build(config: Mapping[str, Any], directory: Path) -> Dictionary:
    name = config.get("architecture", "standard")
    if name in OTHER:
        raise InputError(f"{directory} holds a {name} dictionary; only {', '.join(ARCHITECTURES)} can be read so far")
    if name not in ARCHITECTURES:
        raise unknown("architecture", name, ARCHITECTURES)
    for key, wanted in (("normalize_activations", "none"), ("reshape_activations", "none")):
        if config.get(key, wanted) not in (wanted, None):
            raise InputError(
                f"{directory} says {key} = {config[key]!r}, which is not folded into its weights; fold it in the "
                "library that wrote the file, and save again"
            )
    rescale = bool(config.get("rescale_acts_by_decoder_norm", False))
    common: dict[str, Any] = {
        "apply_b_dec_to_input": bool(config.get("apply_b_dec_to_input", True)),
        "decoder_norm": "free" if rescale else "any",
    }
    sizes = int(config["d_in"]), int(config["d_sae"])
    made: DictionaryConfig
    if name == "topk":
        made = TopK(*sizes, k=int(config["k"]), **common)
    else:
        made = (JumpReLU if name == "jumprelu" else Standard)(*sizes, **common)
    return made.build()


@torch.no_grad()
def _fill(dictionary: Dictionary, tensors: Mapping[str, Tensor], directory: Path) -> None:
    places = _parameters(dictionary)
    for name, place in places.items():
        if name not in tensors:
            raise InputError(f"{directory / WEIGHTS} has no tensor {name}; it holds {', '.join(sorted(tensors))}")
        if tensors[name].shape != place.shape:
            raise InputError(
                f"{name} in {directory / WEIGHTS} is {list(tensors[name].shape)} where its configuration says "
                f"{list(place.shape)}"
            )
        place.copy_(tensors[name])


def _from_top_level(config: Mapping[str, Any]) -> dict[str, Any]:
    """What files from before SAELens 6 keep beside the sizes rather than under metadata."""
    names = ("model_name", "hook_name", "context_size", "prepend_bos", "dataset_path")
    return {name: config[name] for name in names if name in config and "metadata" not in config}
