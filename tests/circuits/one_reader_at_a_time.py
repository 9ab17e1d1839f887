"""The slow twin of the mask runner: one circuit, one reader, one block at a time, through the model's own modules.

Nothing of `interp.circuits` but the graph's names: what a reader makes of its stream is found by running its whole
block on that stream and keeping the one head; what a head writes, by running attention with all other heads silenced
(the readers, and the heads, of a block side by side in one batch).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

Edge = tuple[str, str]
Written = dict[str, Tensor]


class OneReaderAtATime:
    """Runs of a model in which chosen edges carry something else than what their writer writes."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.n_layers, self.n_heads = int(model.cfg.n_layers), int(model.cfg.n_heads)
        self.n_kv = int(model.cfg.n_key_value_heads or self.n_heads)
        self.parallel = "hook_resid_mid" not in model.blocks[0].hook_aliases or bool(
            getattr(model.cfg, "parallel_attn_mlp", False)
        )

    @torch.no_grad()
    def run(
        self, tokens: Tensor, cut: Collection[Edge] = (), instead: Written | None = None, at: Tensor | None = None
    ) -> tuple[Tensor, Written]:
        """Logits [batch, pos, vocab] and what each writer wrote, with the `cut` edges carrying `instead` (None: 0).

        at: Bool[batch, pos], the tokens at which edges are cut; default all.
        """
        tokens = tokens.as_subclass(Tensor)
        constant, written = self._embedded(tokens), {}
        written["embed"] = constant
        rest = torch.zeros_like(constant)  # what no writer owns: the biases of attention outputs

        def read(reader: str) -> Tensor:
            total = rest
            for writer, value in written.items():
                if (writer, reader) in cut:
                    other = torch.zeros_like(value) if instead is None else instead[writer]
                    value = other if at is None else torch.where(at[..., None], other, value)
                total = total + value
            return total

        for layer in range(self.n_layers):
            before = read(f"m{layer}") if self.parallel and self._has_mlp(layer) else None
            heads, bias = self._attention(layer, read)
            for head, value in enumerate(heads):
                written[f"a{layer}.{head}"] = value
            rest = rest + bias
            if self._has_mlp(layer):
                written[f"m{layer}"] = self._mlp(layer, read(f"m{layer}") if before is None else before)
        last = f"blocks.{self.n_layers - 1}.hook_resid_post"
        final = read("logits")
        return self.model.run_with_hooks(tokens, fwd_hooks=[(last, lambda value, hook: final)]), written

    def _has_mlp(self, layer: int) -> bool:
        return hasattr(self.model.blocks[layer], "mlp")

    def _embedded(self, tokens: Tensor) -> Tensor:
        return self.model.run_with_cache(tokens, names_filter=["blocks.0.hook_resid_pre"])[1]["blocks.0.hook_resid_pre"]

    def _block(self, layer: int, stream: Tensor, write: dict[str, Tensor], names: list[str]) -> dict[str, Tensor]:
        """Run the model with one block's input replaced, and return some of its activations."""
        found: dict[str, Tensor] = {}
        prefix = f"blocks.{layer}."

        def replace(value: Tensor, hook: Any, new: Tensor) -> Tensor:
            return new.to(value)

        def keep(value: Tensor, hook: Any, name: str) -> None:
            found[name] = value.clone()

        hooks: list[Any] = [(prefix + "hook_resid_pre", lambda value, hook: replace(value, hook, stream))]
        hooks += [
            (prefix + name, lambda value, hook, new=new: replace(value, hook, new)) for name, new in write.items()
        ]
        hooks += [(prefix + name, lambda value, hook, name=name: keep(value, hook, name)) for name in names]
        # Any tokens of the right shape: the block's input is written over.
        tokens = torch.zeros(stream.shape[:2], dtype=torch.long)
        self.model.run_with_hooks(tokens, fwd_hooks=hooks, stop_at_layer=layer + 1)
        return found

    def _attention(self, layer: int, read: Any) -> tuple[list[Tensor], Tensor]:
        group = "" if self.n_kv == self.n_heads else "kv"
        readers = [("q", head, f"a{layer}.{head}.q") for head in range(self.n_heads)]
        readers += [(letter, head, f"a{layer}.{group}{head}.{letter}") for letter in "kv" for head in range(self.n_kv)]
        streams = torch.cat([read(name) for _, _, name in readers])
        hooks = [f"attn.hook_{letter}" for letter in "qkv"]
        found = {hook: value.chunk(len(readers)) for hook, value in self._block(layer, streams, {}, hooks).items()}
        made: dict[str, list[Tensor]] = {hook: [] for hook in hooks}
        for place, (letter, head, _) in enumerate(readers):
            hook = f"attn.hook_{letter}"
            made[hook].append(found[hook][place][:, :, head])
        stream = read(f"a{layer}.0.q")
        write = {hook: torch.stack(values, dim=2) for hook, values in made.items()}
        whole = self._block(layer, stream, write, ["attn.hook_z", "attn.hook_out", "hook_attn_out"])
        # Without any head (what is left are biases), then with each alone.
        z = whole["attn.hook_z"]
        several = torch.zeros_like(z)[None].repeat(self.n_heads + 1, *[1] * z.ndim)
        for head in range(self.n_heads):
            several[head + 1, :, :, head] = z[:, :, head]
        rows = stream.repeat(self.n_heads + 1, 1, 1)
        outputs = self._block(layer, rows, {"attn.hook_z": several.flatten(0, 1)}, ["attn.hook_out"])
        silent, *alone = outputs["attn.hook_out"].chunk(self.n_heads + 1)
        # A norm behind attention divides all heads' outputs by one scale, that of their sum.
        factor = torch.ones_like(whole["attn.hook_out"])
        if hasattr(self.model.blocks[layer], "ln1_post"):
            factor = whole["hook_attn_out"] / whole["attn.hook_out"]
        return [(out - silent) * factor for out in alone], silent * factor

    def _mlp(self, layer: int, stream: Tensor) -> Tensor:
        block = self.model.blocks[layer]
        norm = getattr(block, "ln2", None) or (block.ln1 if self.parallel else None)
        out = block.mlp(stream if norm is None else norm(stream))
        return block.ln2_post(out) if hasattr(block, "ln2_post") else out
