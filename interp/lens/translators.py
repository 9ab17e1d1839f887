"""The tuned lens itself: an affine translator for each layer (Belrose et al. 2023, "Eliciting Latent Predictions from
Transformers with the Tuned Lens").

A translator maps the residual stream that enters a block to what the last stream will be, so that the model's own final
norm and unembedding can read it: h + W h + b, residual as in the package `tuned-lens`, whose layout is kept on disk:

    config.json           its keys: base_model_name_or_path, d_model, num_hidden_layers, bias, base_model_revision,
                          unembed_hash, lens_type
    params.safetensors    "0.weight" [d_model, d_model], "0.bias" [d_model], ..., one pair for each block
    training.json         what that package has no place for: which model, exactly, how it was trained, its loss

Only the parameters' container differs: params.pt is pickled and runs code when read, so it is never opened here;
`tuned_exports` writes it for that package.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from interp.errors import InputError
from interp.models import identity
from interp.runs import atomic_write

CONFIG, PARAMETERS, TRAINING = "config.json", "params.safetensors", "training.json"
PICKLED = "params.pt"
LENS_TYPE = "linear_tuned_lens"


@dataclass(frozen=True, eq=False)
class TunedLens:
    """Translators of the streams that enter blocks 0 ... n_layers - 1; the last stream needs none.

    weights [layer, d_model, d_model] (out, in) and biases [layer, d_model], float32. model: the identity of the model
    it reads. training: how it was trained, plain data; empty for a lens that was not.
    """

    weights: Float[Tensor, "layer d_model d_model"]
    biases: Float[Tensor, "layer d_model"]
    model: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def identity(cls, model: Any) -> TunedLens:
        """Translators that change nothing: the logit lens."""
        n_layers, d_model = int(model.cfg.n_layers), int(model.cfg.d_model)
        return cls(torch.zeros(n_layers, d_model, d_model), torch.zeros(n_layers, d_model), described_model(model))

    @property
    def n_layers(self) -> int:
        """Blocks of the model, and translators."""
        return self.weights.shape[0]

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.weights.shape[1]

    def __call__(self, stream: Float[Tensor, "*any d_model"], layer: int) -> Float[Tensor, "*any d_model"]:
        """The stream that enters block `layer`, translated to the basis of the last one; `n_layers` changes nothing.

        Also what TransformerLens's `logit_lens` takes as `lens=`.
        """
        if not 0 <= layer <= self.n_layers:
            raise InputError(f"the lens has no layer {layer}; its layers are 0 to {self.n_layers}, the output")
        if stream.shape[-1] != self.d_model:
            raise InputError(f"the lens translates streams of width {self.d_model}, not {stream.shape[-1]}")
        if layer == self.n_layers:
            return stream
        weights, biases = self.weights[layer].to(stream), self.biases[layer].to(stream)
        return stream + torch.nn.functional.linear(stream, weights, biases)

    def check(self, model: Any) -> None:
        """Raise InputError, saying what does not fit, where the lens was made for another model."""
        self._check_shape(model)
        own = identity(model)
        trained = self.model.get("weights_sha256")
        if trained is not None and trained != own["weights_sha256"]:
            raise InputError(
                f"this lens was tuned to {self.model.get('id')} and the weights of {own['id']} are others; train one "
                "for it, or say that you mean it with lens.transferred_to(model)"
            )
        unembedding = self.model.get("unembed_hash")
        if trained is None and unembedding is not None and unembedding != unembedding_hash(model):
            raise InputError(
                f"this lens was tuned to the unembedding of {self.model.get('id')}, and {own['id']} has another; train "
                "one for it, or say that you mean it with lens.transferred_to(model)"
            )

    def transferred_to(self, model: Any) -> TunedLens:
        """The same translators for a model with other weights, such as a fine-tuned one (section 4.4 of the paper).

        Raises InputError where the model has another number of layers or another width.
        """
        self._check_shape(model)
        return replace(self, model=described_model(model), training=self.training | {"transferred_from": self.model})

    def _check_shape(self, model: Any) -> None:
        shape = (int(model.cfg.n_layers), int(model.cfg.d_model))
        if shape != (self.n_layers, self.d_model):
            raise InputError(
                f"this lens is for {self.n_layers} layers of width {self.d_model} ({self.model.get('id', 'unknown')}), "
                f"and {model.cfg.model_name} has {shape[0]} of width {shape[1]}; train one for it"
            )

    def save(self, directory: str | Path) -> Path:
        """Store the lens (see the module for the files), each file at once or not at all. Returns the directory.

        Raises StorageError when the disk is full or read-only.
        """
        directory = Path(directory).expanduser()
        atomic_write(directory / TRAINING, _json({"model": self.model, "training": self.training}))
        atomic_write(directory / PARAMETERS, to_bytes(self.parameters()))
        atomic_write(directory / CONFIG, _json(self.config()))  # last: a directory without it is no lens
        return directory

    def parameters(self) -> dict[str, Tensor]:
        """The tensors by the names that the package tuned-lens has for them, each with memory of its own."""
        named = {}
        for layer in range(self.n_layers):
            named[f"{layer}.weight"] = self.weights[layer].detach().cpu().clone()
            named[f"{layer}.bias"] = self.biases[layer].detach().cpu().clone()
        return named

    def config(self) -> dict[str, Any]:
        """What config.json holds: the keys of that package."""
        return {
            "base_model_name_or_path": self.model.get("id", "unknown"),
            "d_model": self.d_model,
            "num_hidden_layers": self.n_layers,
            "bias": True,
            "base_model_revision": self.model.get("revision"),
            "unembed_hash": self.model.get("unembed_hash"),
            "lens_type": LENS_TYPE,
        }

    @classmethod
    def load(cls, directory: str | Path) -> TunedLens:
        """A lens stored by `save`, or one of the package tuned-lens whose parameters were converted to safetensors.

        Raises InputError where there is none, where it is damaged, and for a params.pt, which is pickled.
        """
        directory = Path(directory).expanduser()
        config = _read_json(directory / CONFIG)
        if not (directory / PARAMETERS).exists() and (directory / PICKLED).exists():
            raise InputError(
                f"{directory / PICKLED} is pickled and can run code when it is read, so it is not opened; convert "
                "it in Python: safetensors.torch.save_file(torch.load('params.pt', weights_only=True), "
                f"{PARAMETERS!r}), beside {CONFIG}"
            )
        weights, biases = _read_parameters(directory / PARAMETERS, config)
        told = _read_json(directory / TRAINING) if (directory / TRAINING).exists() else {}
        known = {"id": config.get("base_model_name_or_path"), "revision": config.get("base_model_revision")}
        model = told.get("model") or known | {"unembed_hash": config.get("unembed_hash")}
        return cls(weights, biases, model, told.get("training", {}))


def described_model(model: Any) -> dict[str, Any]:
    """What a lens remembers of its model: its identity, and the hash that the package tuned-lens checks."""
    return identity(model) | {"unembed_hash": unembedding_hash(model)}


def unembedding_hash(model: Any) -> str:
    """The hash by which the package tuned-lens knows an unembedding: of the matrix as numpy prints it, abridged.

    It tells model families apart, not checkpoints; `model["weights_sha256"]` does that for lenses trained here.
    """
    rows = model.W_U.T.detach().float().cpu().numpy()
    with np.printoptions(threshold=1000, edgeitems=3, linewidth=75, suppress=False, legacy=False):
        return hashlib.sha256(np.array_str(rows, precision=1).encode()).hexdigest()


def _read_parameters(path: Path, config: dict[str, Any]) -> tuple[Tensor, Tensor]:
    if config.get("lens_type", LENS_TYPE) != LENS_TYPE:
        raise InputError(f"{path.parent} holds a lens of the type {config['lens_type']!r}; only {LENS_TYPE!r} is known")
    try:
        stored = load_file(path)
        n_layers, d_model = int(config["num_hidden_layers"]), int(config["d_model"])
        weights = torch.stack([stored[f"{layer}.weight"].float() for layer in range(n_layers)])
        zeros = torch.zeros(d_model)
        biases = torch.stack([stored.get(f"{layer}.bias", zeros).float() for layer in range(n_layers)])
    except FileNotFoundError:
        raise InputError(f"there is no {PARAMETERS} in {path.parent}; give the directory of a tuned lens") from None
    except (SafetensorError, KeyError, ValueError, RuntimeError, OSError) as error:
        raise InputError(f"the tuned lens in {path.parent} is damaged ({error}); train it again") from error
    if weights.shape[1:] != (d_model, d_model) or biases.shape[1:] != (d_model,):
        raise InputError(f"the tuned lens in {path.parent} is damaged: its translators are not {d_model} wide")
    return weights, biases


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"there is no tuned lens in {path.parent} (no {path.name}); train one with `interp tuned-lens`"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no settings of a tuned lens")
    return found


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, sort_keys=False) + "\n"
