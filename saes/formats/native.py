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

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from interp.errors import InputError
from interp.runs import atomic_directory
from saes.architectures import BatchTopKDictionary, Dictionary, JumpReLUDictionary
from saes.formats.saelens_configs import from_saelens, metadata_of, to_saelens

WEIGHTS, CONFIG, SPARSITY = "sae_weights.safetensors", "cfg.json", "sparsity.safetensors"
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
            text = json.dumps(to_saelens(dictionary, plain), indent=2, sort_keys=True) + "\n"
            (directory / CONFIG).write_text(text, encoding="utf-8")
            if firing is not None:
                log = torch.log10(firing.float().cpu() + LOG_FLOOR)
                save_file({"sparsity": log.contiguous()}, directory / SPARSITY)
    except FileExistsError as error:
        raise InputError(f"{path} already exists; delete it or choose another place for the dictionary") from error
    return path


def read(path: str | Path) -> Dictionary:
    """The dictionary in a directory of this layout, written by this library or by SAELens.

    Checkpoints of SAELens's trainings are read as well, in their inference form. Raises InputError for a missing or
    damaged file, an architecture without a counterpart here, tensors whose sizes contradict the configuration, and
    weights that are NaN or infinite.
    """
    directory = Path(path)
    if not (directory / CONFIG).is_file() or not (directory / WEIGHTS).is_file():
        raise InputError(f"{directory} holds no dictionary: it needs {CONFIG} and {WEIGHTS}")
    try:
        config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(directory / WEIGHTS)
    except (ValueError, SafetensorError) as error:
        raise InputError(f"the dictionary in {directory} is damaged: {error}") from error
    dictionary = from_saelens(config, directory).build()
    _fill(dictionary, _with_todays_names(tensors, directory), directory)
    dictionary.metadata = metadata_of(config)
    return _as_saelens_applies(dictionary).requires_grad_(False)


def firing_shares(path: str | Path) -> Float[Tensor, " d_sae"] | None:
    """The share of tokens each latent fires on, where the directory says so."""
    file = Path(path) / SPARSITY
    return 10 ** load_file(file)["sparsity"] - LOG_FLOOR if file.is_file() else None


def _tensors(plain: Dictionary) -> dict[str, Tensor]:
    return {name: tensor.detach().float().cpu().contiguous() for name, tensor in _parameters(plain).items()}


def _parameters(d: Dictionary) -> dict[str, Tensor]:
    """The tensors by their names in the file."""
    named = {"W_enc": d.W_enc, "b_enc": d.b_enc, "W_dec": d.W_dec, "b_dec": d.b_dec}
    if isinstance(d, BatchTopKDictionary):
        return named | {"topk_threshold": d.threshold}
    return named | ({"threshold": d.threshold} if isinstance(d, JumpReLUDictionary) else {})


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
        # An infinite threshold is a latent that is never active; nothing else may be infinite.
        if tensors[name].isnan().any() or ("threshold" not in name and tensors[name].isinf().any()):
            raise InputError(
                f"{name} in {directory / WEIGHTS} holds NaN or infinity: the training it comes from diverged, or the "
                "file is damaged; take an earlier checkpoint or another copy"
            )
        place.copy_(tensors[name])


def _with_todays_names(tensors: Mapping[str, Tensor], directory: Path) -> dict[str, Tensor]:
    """What older versions stored otherwise."""
    named = dict(tensors)
    if "log_threshold" in named and "threshold" not in named:
        named["threshold"] = named["log_threshold"].exp()
    scaling = named.get("scaling_factor")
    if scaling is not None and not torch.allclose(scaling.float(), torch.ones(())):
        raise InputError(f"{directory} holds a dictionary with a scaling_factor for every latent, which cannot be read")
    return named


@torch.no_grad()
def _as_saelens_applies(dictionary: Dictionary) -> Dictionary:
    """The dictionary whose latents are those that SAELens gives."""
    if isinstance(dictionary, JumpReLUDictionary):
        dictionary.threshold.clamp_min_(0.0)  # a ReLU comes before SAELens's threshold
    if isinstance(dictionary, BatchTopKDictionary) or dictionary.config.decoder_norm == "free":
        return dictionary.fold()
    return dictionary
