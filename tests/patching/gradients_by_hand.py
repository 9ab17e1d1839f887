"""The slow twin of `interp.patching.node_attribution`: one site at a time, full passes, TransformerLens hooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from interp.tasks import PromptPairs

KINDS = {
    "z": "attn.hook_z",
    "q": "attn.hook_q",
    "k": "attn.hook_k",
    "v": "attn.hook_v",
    "pattern": "attn.hook_pattern",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
    "mlp_post": "mlp.hook_post",
    "resid_pre": "hook_resid_pre",
    "resid_post": "hook_resid_post",
}


class ByHand:
    """The two runs of a task, and gradients at any hook of the one that is changed."""

    def __init__(self, model: Any, task: PromptPairs, direction: str) -> None:
        self.model = model
        denoise = direction == "denoise"
        run, donor = (task.corrupt, task.clean) if denoise else (task.clean, task.corrupt)
        self.tokens, self.metric = run.as_subclass(Tensor), task.corrupt_metric if denoise else task.metric
        self.sign = 1.0 if denoise else -1.0
        _, self.own = model.run_with_cache(self.tokens)
        _, self.other = model.run_with_cache(donor.as_subclass(Tensor))

    def difference(self, name: str) -> Tensor:
        """What patching changes, signed."""
        return self.sign * (self.other[name] - self.own[name])

    def gradient(self, name: str, at: Tensor | None = None, hooks: Sequence[Any] = ()) -> Tensor:
        """The metric's gradient at one hook: of the run, or of the run with `at` in that place, under other hooks."""
        leaves: list[Tensor] = []

        def leave(value: Tensor, hook: Any) -> Tensor:
            leaves.append((value if at is None else at).detach().clone().requires_grad_(True))
            return leaves[0]

        with torch.enable_grad():
            # The leaf's hook last, so that other hooks of the same place come before it.
            logits = self.model.run_with_hooks(self.tokens, fwd_hooks=[*hooks, (name, leave)])
            total = self.metric(logits).sum()
            if not total.requires_grad:
                return torch.zeros_like(leaves[0])
            gradient = torch.autograd.grad(total, leaves[0], allow_unused=True)[0]
        return torch.zeros_like(leaves[0]) if gradient is None else gradient
