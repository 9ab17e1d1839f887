"""The slow twin of `interp.patching.path_effects`: one sender, full passes, a TransformerLens hook at every head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from interp.tasks import PromptPairs

Named = tuple[str, int, int]


def path_effect(
    model: Any, task: PromptPairs, sender: tuple[int, int], receivers: Sequence[Named], direction: str, mlps: str
) -> Tensor:
    """Effect of the paths from one head to receivers (letter, layer, head), () for the logits; [batch].

    Keys and values are written as the model has them: on a model with grouped queries only queries can be received.
    """
    own, other = (task.clean, task.corrupt) if direction == "noise" else (task.corrupt, task.clean)
    metric = task.metric if direction == "noise" else task.corrupt_metric
    tokens = own.as_subclass(Tensor)
    logits, cache = model.run_with_cache(tokens)
    _, source = model.run_with_cache(other.as_subclass(Tensor))
    hooks: list[Any] = []
    for layer in range(int(model.cfg.n_layers)):
        name = f"blocks.{layer}.attn.hook_z"

        def hold(value: Tensor, hook: Any, name: str = name, layer: int = layer) -> Tensor:
            value = cache[name].clone()
            if layer == sender[0]:
                value[:, :, sender[1]] = source[name][:, :, sender[1]]
            return value

        hooks.append((name, hold))
        mlp = f"blocks.{layer}.hook_mlp_out"
        if mlps == "freeze" and mlp in cache:
            hooks.append((mlp, lambda value, hook, mlp=mlp: cache[mlp].clone()))
    read: dict[str, Tensor] = {}
    sites = sorted({f"blocks.{layer}.attn.hook_{letter}" for letter, layer, _ in receivers})

    def note(name: str) -> Any:
        def keep(value: Tensor, hook: Any) -> None:
            read[name] = value.clone()

        return keep

    patched = model.run_with_hooks(tokens, fwd_hooks=[*hooks, *((name, note(name)) for name in sites)])
    if receivers:
        patched = model.run_with_hooks(tokens, fwd_hooks=[(name, _received(name, receivers, read)) for name in sites])
    change = metric(logits) - metric(patched)
    return change if direction == "noise" else -change


def _received(name: str, receivers: Sequence[Named], read: dict[str, Tensor]) -> Any:
    def write(value: Tensor, hook: Any) -> Tensor:
        value = value.clone()
        for letter, layer, head in receivers:
            if name == f"blocks.{layer}.attn.hook_{letter}":
                value[:, :, head] = read[name][:, :, head]
        return value

    return write
