"""`cfg.json` as SAELens writes and reads it: what it says of a dictionary, in SAELens's versions before and from 6 on.

From 6 on a file names its `architecture` and keeps model and site under `metadata`, with `sae_lens_version`; SAELens
rewrites the configuration of a file that names no such version. Earlier files keep everything beside the sizes, call
the site `hook_point` or `hook_name`, and say in `activation_fn_str` that a dictionary is TopK.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interp.errors import InputError, unknown
from saes.architectures import BatchTopK, Dictionary, DictionaryConfig, JumpReLU, Standard, TopK

SAELENS_VERSION = "6.54.12"
"""The version whose layout this is."""
KINDS: dict[str, type[DictionaryConfig]] = {
    "standard": Standard,
    "topk": TopK,
    "jumprelu": JumpReLU,
    # Only checkpoints of a training bear these names; what is saved at its end is jumprelu.
    "batchtopk": BatchTopK,
    "matryoshka_batchtopk": BatchTopK,
}
"""Architectures that can be read, by SAELens's names."""
OTHER = ("abstopk", "gated", "matching_pursuit", "transcoder", "skip_transcoder", "jumprelu_transcoder", "temporal")
"""SAELens's architectures that have no counterpart here yet."""
FOLDED = (None, False, True, "none", "expected_average_only_in", "covariance_whitening")
"""Input normalisations that are in the weights by the time a dictionary is saved (True: before version 6)."""
RESHAPED = (None, "none", "hook_z")
"""Heads side by side is how activations at hook_z come here anyway."""
MOVED = {
    "model_name": "model_name",
    "hook_point": "hook_name",
    "hook_name": "hook_name",
    "context_size": "context_size",
    "prepend_bos": "prepend_bos",
    "dataset_path": "dataset_path",
}
"""What files from before version 6 keep beside the sizes, and what it is called under `metadata`."""


def to_saelens(trained: Dictionary, plain: Dictionary) -> dict[str, Any]:
    """The configuration of a folded dictionary; `trained` is the one it comes from."""
    at_heads = str(trained.metadata.get("hook_name", "")).endswith("hook_z")
    config: dict[str, Any] = {
        "architecture": plain.config.architecture,
        "d_in": plain.d_in,
        "d_sae": plain.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": plain.config.apply_b_dec_to_input,
        "normalize_activations": "none",
        "reshape_activations": "hook_z" if at_heads else "none",
    }
    if isinstance(plain.config, TopK):
        config |= {"k": plain.config.k, "rescale_acts_by_decoder_norm": False}
    metadata = {"training_architecture": trained.config.architecture, "training_config": trained.config.to_dict()}
    config["metadata"] = metadata | dict(trained.metadata) | {"sae_lens_version": SAELENS_VERSION}
    return config


def from_saelens(told: Mapping[str, Any], directory: Path) -> DictionaryConfig:
    """Our configuration for a file's. Raises InputError for what has no counterpart here."""
    name = architecture_of(told)
    if name in OTHER:
        raise InputError(f"{directory} holds a {name} dictionary; only {', '.join(KINDS)} can be read so far")
    if name not in KINDS:
        raise unknown("architecture", name, list(KINDS))
    for key, fine in (("normalize_activations", FOLDED), ("reshape_activations", RESHAPED)):
        if told.get(key) not in fine:
            raise InputError(
                f"{directory} says {key} = {told[key]!r}, which is not in its weights but done to every activation; "
                "such dictionaries cannot be read"
            )
    try:
        given: dict[str, Any] = {
            "d_in": int(told["d_in"]),
            "d_sae": int(told["d_sae"]),
            "apply_b_dec_to_input": bool(told.get("apply_b_dec_to_input", True)),
            "decoder_norm": "free" if told.get("rescale_acts_by_decoder_norm", False) else "any",
        }
        if issubclass(KINDS[name], TopK):
            given["k"] = max(1, round(float(told["k"] if "k" in told else told["activation_fn_kwargs"]["k"])))
        if issubclass(KINDS[name], JumpReLU):
            given["target_l0"] = min(JumpReLU.target_l0, float(given["d_sae"]))  # nothing a saved dictionary needs
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the configuration in {directory} lacks or garbles {error}") from error
    return KINDS[name](**given)


def architecture_of(told: Mapping[str, Any]) -> str:
    """The name of the architecture, as files of any age say it."""
    if told.get("activation_fn", told.get("activation_fn_str")) == "topk":
        return "topk"
    return str(told.get("architecture", "standard"))


def metadata_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says about where its dictionary comes from."""
    if "metadata" in told:
        return dict(told["metadata"])
    return {name: told[old] for old, name in MOVED.items() if old in told}
