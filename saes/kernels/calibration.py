"""`Plan` and `calibrate`: how this machine computes a step, measured in a second before training begins.

A bfloat16 product is many times faster than a float32 one on processors with matrix units and on GPUs, and slower where
neither is there; sparse products beat dense ones up to a share of active latents that differs between machines. The
plan is stored with a run, so that a resumed run computes the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from interp.errors import InputError, unknown
from saes.kernels.selection import top_k_support
from saes.kernels.support import DenseSupport

PRECISIONS = ("float32", "bfloat16")
GAIN = 1.2
"""How much faster a bfloat16 product has to be to be worth its rounding."""
TOKENS = 512


@dataclass(frozen=True)
class Plan:
    """How a step is computed."""

    encoder: str = "float32"
    """Precision of the encoder's product; weights and everything else stay float32."""
    max_density: float = 0.05
    """Share of active latents up to which the support is kept sparse."""
    tf32: bool = True
    """Let float32 products on NVIDIA devices use TF32."""

    def __post_init__(self) -> None:
        if self.encoder not in PRECISIONS:
            raise unknown("precision", self.encoder, PRECISIONS)
        if not 0 <= self.max_density <= 1:
            raise InputError(f"max_density is a share, from 0 to 1, not {self.max_density}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return asdict(self)

    def apply(self) -> None:
        """Set the process's TF32 switch; nothing else is global."""
        if torch.cuda.is_available():
            torch.set_float32_matmul_precision("high" if self.tf32 else "highest")


@torch.no_grad()
def calibrate(d_in: int, d_sae: int, device: torch.device | str = "cpu", precision: str = "auto") -> Plan:
    """Measure both precisions of the encoder's product, and dense against sparse products, on random numbers.

    precision: "float32" or "bfloat16" to decide the first yourself. Takes about a second.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(TOKENS, d_in, generator=generator).to(device)
    weight = torch.randn(d_sae, d_in, generator=generator).to(device)
    return Plan(_precision(x, weight) if precision == "auto" else precision, _density(x, weight))


def _precision(x: torch.Tensor, weight: torch.Tensor) -> str:
    if x.is_cuda and not torch.cuda.is_bf16_supported():
        return "float32"
    x_low, weight_low = x.bfloat16(), weight.bfloat16()
    full = _seconds(lambda: x @ weight.T)
    low = _seconds(lambda: (x_low @ weight_low.T, weight_low.copy_(weight)))
    return "bfloat16" if full > GAIN * low else "float32"


def _density(x: torch.Tensor, weight: torch.Tensor) -> float:
    """The share of active latents at which a dense step costs as much as a sparse one.

    Sparse time is a part per entry and a part per weight, so two sizes give both.
    """
    d_sae = len(weight)
    h = x @ weight.T
    small, large = (max(1, int(d_sae * share)) for share in (0.004, 0.02))

    def sparse(k: int) -> float:
        support = top_k_support(h, k)
        values = support.pick(h)
        return _seconds(lambda: _products(support, values, x, weight))

    few, many = sparse(small), sparse(large)
    mask = torch.zeros_like(h, dtype=torch.bool)
    dense = _seconds(lambda: _products(DenseSupport(mask), h, x, weight))
    slope = max(many - few, 1e-9) / max(large - small, 1)
    crossing = (small + (dense - few) / slope) / d_sae
    return min(max(crossing, 0.0), 0.5)


def _products(support: Any, values: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> None:
    support.decode(values, weight)
    support.sample(x, weight)
    support.gather(values, x)


def _seconds(work: Callable[[], Any], rounds: int = 3) -> float:
    """The shortest of some runs, after one that does not count."""
    best = float("inf")
    for _ in range(rounds + 1):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began) if _ else float("inf")
    return best
