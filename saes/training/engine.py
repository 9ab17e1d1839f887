"""`Engine`: one dictionary in training, one step at a time.

A step is one dense product, x W_enc; everything else happens on the active latents, with the gradients of
`saes.training.gradients`. Nothing waits for the device, except where an architecture's number of active latents is not
known beforehand (BatchTopK, JumpReLU, Standard) and, once in `dead_every` steps, to list the dead latents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from saes.architectures import (
    BatchTopKDictionary,
    Dictionary,
    JumpReLUDictionary,
    MatryoshkaDictionary,
    StandardDictionary,
    TopK,
    TopKDictionary,
)
from saes.kernels.calibration import Plan
from saes.kernels.support import SparseSupport
from saes.plain_values import check_values
from saes.training.gradients.dead import add_aux_k, add_pre_activation_loss
from saes.training.gradients.jumprelu import jumprelu_gradients
from saes.training.gradients.matryoshka import matryoshka_gradients
from saes.training.gradients.standard import standard_gradients
from saes.training.gradients.terms import Encoded, Found
from saes.training.gradients.topk import chosen, topk_gradients
from saes.training.optimiser import Adam, Optimiser

ROUNDING = 1e-12
"""Share of the squared mean below which a batch's variance is what rounding leaves over."""


@dataclass(frozen=True)
class EngineSettings:
    """What a step needs to be told beside the dictionary's own configuration."""

    adam: Adam = field(default_factory=Adam)
    """The optimiser."""
    dead_after: int | None = None
    """Tokens without firing after which a latent counts as dead (None: a twentieth of a training, at most a million;
    a million where nothing says how long it is)."""
    dead_every: int = 20
    """Steps between two lists of the dead."""

    def __post_init__(self) -> None:
        check_values(self, least={"dead_after": 0, "dead_every": 1})
        if not isinstance(self.adam, Adam):
            raise InputError(f"adam has to be saes.training.optimiser.Adam(...), not {self.adam!r}")


class StepStats(NamedTuple):
    """What a step saw, as scalars on the device, all before its update.

    squared_error: mean over tokens, summed over d_in. variance: the same of the batch about its mean, 0 where it is no
    more than rounding. penalty: the
    sparsity loss. aux: the loss of the dead. l0: mean number of active latents.
    """

    squared_error: Float[Tensor, ""]
    variance: Float[Tensor, ""]
    penalty: Float[Tensor, ""]
    aux: Float[Tensor, ""]
    l0: Float[Tensor, ""]

    @property
    def loss(self) -> Float[Tensor, ""]:
        """What the step descends."""
        return self.squared_error + self.penalty + self.aux


class Engine:
    """A dictionary, its optimiser, and who fired when. Everything that decides the next step is in `state`.

    n_steps, n_tokens: done so far. last_fired [d_sae]: token count at which each latent last fired. fired [d_sae]:
    tokens each latent has fired on. dead: the latents that are dead, as of the last list.
    """

    def __init__(
        self, dictionary: Dictionary, settings: EngineSettings | None = None, plan: Plan | None = None
    ) -> None:
        dictionary.config.check_trainable()
        self.dictionary = dictionary.requires_grad_(False)
        self.settings = settings or EngineSettings()
        self.plan = plan or Plan()
        self.optimiser = Optimiser(dict(dictionary.named_parameters()), self.settings.adam)
        device = dictionary.decoder.device
        self.n_steps = 0
        self.n_tokens = 0
        self.last_fired = torch.zeros(dictionary.d_sae, dtype=torch.long, device=device)
        self.fired = torch.zeros(dictionary.d_sae, dtype=torch.long, device=device)
        self.dead = torch.zeros(0, dtype=torch.long, device=device)
        self._half = dictionary.encoder.bfloat16() if self.plan.encoder == "bfloat16" else None
        self._zero = torch.zeros((), device=device)

    @torch.no_grad()
    def step(
        self, x: Float[Tensor, "tokens d_in"], lr: float, sparsity: float = 1.0, k: int | None = None
    ) -> StepStats:
        """Descend the loss of a batch by one step of the optimiser.

        lr: learning rate. sparsity: factor on the architecture's sparsity loss, for warming up. k: active latents in
        place of the configuration's, for annealing.
        """
        encoded, found, aux = self.pass_through(x, sparsity, k)
        self._follow_threshold(encoded, found)
        self._count(found, len(x))
        self.optimiser.step(vars(found.gradients), lr)
        self._constrain()
        self.n_steps += 1
        if self.n_steps % self.settings.dead_every == 0:
            self.list_dead()
        mean = x.mean(0)
        variance = (x - mean).square().sum() / len(x)
        variance = torch.where(variance > ROUNDING * mean.square().sum(), variance, self._zero)
        l0 = (found.activations > 0).sum() / len(x)
        return StepStats(found.squared_error, variance, found.penalty, aux, l0)

    @torch.no_grad()
    def pass_through(
        self, x: Float[Tensor, "tokens d_in"], sparsity: float = 1.0, k: int | None = None
    ) -> tuple[Encoded, Found, Float[Tensor, ""]]:
        """The batch as the encoder sees it, what was found there with all gradients, and the loss of the dead."""
        x = x.float()
        encoded = self._encode(x)
        found = self._gradients(encoded, sparsity, k)
        return encoded, found, self._revive(encoded, found)

    def _encode(self, x: Float[Tensor, "tokens d_in"]) -> Encoded:
        d = self.dictionary
        centred = x - d.b_dec if d.config.apply_b_dec_to_input else x
        if self._half is None:
            return Encoded(x, centred, torch.addmm(d.b_enc, centred, d.encoder.T))
        return Encoded(x, centred, torch.addmm(d.b_enc.bfloat16(), centred.bfloat16(), self._half.T))

    def _gradients(self, encoded: Encoded, sparsity: float, k: int | None) -> Found:
        d = self.dictionary
        if isinstance(d, StandardDictionary):
            return standard_gradients(d, encoded, self.plan.max_density, sparsity)
        if isinstance(d, JumpReLUDictionary):
            return jumprelu_gradients(d, encoded, self.plan.max_density, sparsity)
        assert isinstance(d, TopKDictionary | BatchTopKDictionary)
        expected = d.threshold if isinstance(d, BatchTopKDictionary) else self._zero
        support = chosen(d, encoded, k or d.config.k, expected)
        if isinstance(d, MatryoshkaDictionary):
            return matryoshka_gradients(d, encoded, support)
        return topk_gradients(d, encoded, support)

    def _revive(self, encoded: Encoded, found: Found) -> Float[Tensor, ""]:
        config = self.dictionary.config
        if not len(self.dead):
            return self._zero
        if isinstance(config, TopK):
            aux_k = max(1, config.d_in // 2) if config.aux_k is None else config.aux_k
            if aux_k and config.aux_coefficient:
                return add_aux_k(self.dictionary, encoded, found, self.dead, aux_k, config.aux_coefficient)
        elif isinstance(self.dictionary, JumpReLUDictionary) and self.dictionary.config.dead_coefficient:
            coefficient = self.dictionary.config.dead_coefficient
            return add_pre_activation_loss(self.dictionary, encoded, found, self.dead, coefficient)
        return self._zero

    def _follow_threshold(self, encoded: Encoded, found: Found) -> None:
        """Move BatchTopK's threshold towards the smallest activation that was chosen."""
        d = self.dictionary
        if not isinstance(d, BatchTopKDictionary) or not found.activations.numel():
            return
        values = found.activations
        if d.config.decoder_norm == "free":
            values = values * found.support.per_latent(d.decoder.norm(dim=1))
        smallest = torch.where(values > 0, values, torch.inf).amin()
        rate = torch.where(d.threshold > 0, d.config.threshold_rate, 1.0)
        d.threshold.copy_(torch.where(smallest.isfinite(), d.threshold.lerp(smallest, rate), d.threshold))

    def _count(self, found: Found, n_tokens: int) -> None:
        self.n_tokens += n_tokens
        active = found.activations > 0
        if isinstance(found.support, SparseSupport):
            columns = found.support.columns
            counts = torch.bincount(columns, weights=active.double(), minlength=len(self.fired)).long()
        else:
            counts = active.sum(0)
        self.fired += counts
        self.last_fired.masked_fill_(counts > 0, self.n_tokens)

    def _constrain(self) -> None:
        """Unit directions stay unit, thresholds do not turn negative, and the encoder's copy follows."""
        d = self.dictionary
        if d.config.decoder_norm == "unit":
            d.decoder.div_(d.decoder.norm(dim=1, keepdim=True).clamp_min_(1e-12))
        if isinstance(d, JumpReLUDictionary):
            d.threshold.clamp_min_(0.0)
        if self._half is not None:
            self._half.copy_(d.encoder)

    def restart(self, latents: Int[Tensor, " latents"]) -> None:
        """Let the optimiser, and who counts as dead, treat some latents as new: their weights were set from outside."""
        self.optimiser.forget(latents)
        self.last_fired[latents] = self.n_tokens
        self.list_dead()
        if self._half is not None:
            self._half.copy_(self.dictionary.encoder)

    def list_dead(self) -> None:
        """Look who has not fired for `dead_after` tokens (waits for the device)."""
        dead_after = 1_000_000 if self.settings.dead_after is None else self.settings.dead_after
        self.dead = (self.n_tokens - self.last_fired > dead_after).nonzero().flatten()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that decides the next step: tensors by name, and plain values."""
        tensors = {f"dictionary.{name}": value.detach() for name, value in self.dictionary.state_dict().items()}
        tensors |= {f"optimiser.{name}": value for name, value in self.optimiser.tensors().items()}
        tensors |= {"last_fired": self.last_fired, "fired": self.fired, "dead": self.dead}
        return tensors, {"n_steps": self.n_steps, "n_tokens": self.n_tokens, "plan": self.plan.to_dict()}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Go back to a state; the next steps then give the same bits, on the same machine and number of threads."""
        own = self.dictionary.state_dict()
        self.dictionary.load_state_dict({name: tensors[f"dictionary.{name}"] for name in own})
        self.optimiser.restore({name: tensors[f"optimiser.{name}"] for name in self.optimiser.tensors()})
        device = self.last_fired.device
        self.last_fired, self.fired, self.dead = (
            tensors[name].clone().to(device) for name in ("last_fired", "fired", "dead")
        )
        self.n_steps, self.n_tokens = int(plain["n_steps"]), int(plain["n_tokens"])
        self.plan = Plan(**plain["plan"])
        self._half = self.dictionary.encoder.bfloat16() if self.plan.encoder == "bfloat16" else None
