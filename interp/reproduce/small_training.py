"""Training a small model from scratch, in a loop that can be stopped at any time and goes on where it was.

Batches depend on the seed and the step alone, so weights, optimizer state and what was measured are all that a
checkpoint has to hold; it is written whole, at every examination, and a Ctrl-C loses the few steps since.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as as_bytes
from torch import Tensor

from interp.reproduce.examining import Examination, examine
from interp.runs import atomic_write, progress


@dataclass(eq=False)
class Training:
    """A model in training: what a checkpoint holds.

    network: what is optimised. steps, seen, losses: step, examination and mean training loss since the one before, of
    every examination so far.
    """

    network: torch.nn.Module
    optimizer: torch.optim.AdamW
    steps: list[int] = field(default_factory=list)
    seen: list[Examination] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def save(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Write everything to one file, atomically."""
        tensors = {f"weight.{name}": value.detach() for name, value in self.network.named_parameters()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{name}": torch.as_tensor(value) for name, value in state.items()}
        for name in ("first", "second", "heads"):
            tensors[f"seen.{name}"] = torch.stack([getattr(moment, name) for moment in self.seen])
        tensors |= {"steps": torch.tensor(self.steps), "losses": torch.tensor(self.losses)}
        whole = {name: value.contiguous() for name, value in tensors.items()}
        atomic_write(path, as_bytes(whole, metadata={"settings": json.dumps(settings, sort_keys=True)}))

    def load(self, path: Path, settings: Mapping[str, Any]) -> bool:
        """Take up a checkpoint of the same settings; False where there is none."""
        if not path.is_file():
            return False
        with safe_open(str(path), framework="pt") as file:
            made_with = (file.metadata() or {}).get("settings")
        if made_with != json.dumps(settings, sort_keys=True):
            return False
        tensors = load_file(path)
        with torch.no_grad():
            for name, value in self.network.named_parameters():
                value.copy_(tensors[f"weight.{name}"])
        state: dict[int, dict[str, Tensor]] = {}
        for name in (name for name in tensors if name.startswith("optimizer.")):
            _, i, what = name.split(".")
            state.setdefault(int(i), {})[what] = tensors[name]
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})
        self.steps, self.losses = tensors["steps"].tolist(), tensors["losses"].tolist()
        rows = zip(*(tensors[f"seen.{name}"] for name in ("first", "second", "heads")))
        self.seen = [Examination(*row) for row in rows]
        return True


def train(
    model: Any,
    batch: Callable[[int], Tensor],
    examined_on: Tensor,
    *,
    n_steps: int,
    examine_every: int,
    learning_rate: float,
    checkpoint: Path,
    settings: Mapping[str, Any],
) -> Training:
    """Train `model` to predict every next token of `batch(step)`, with AdamW; examine it on the way, first and last.

    checkpoint: the file that an interrupted training goes on from, if it has the same `settings`; it stays there with
    the final weights. Parameters are left without gradients.
    """
    network = model.original_model.requires_grad_(True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, betas=(0.9, 0.98), fused=True)
    training = Training(network, optimizer)
    begin = training.steps[-1] if training.load(checkpoint, settings) else 0
    recent: list[Tensor] = []
    with progress(n_steps, f"training {model.cfg.n_layers} layers") as bar:
        bar.resume(begin)
        for step in range(begin, n_steps + 1):
            if (step % examine_every == 0 or step == n_steps) and step not in training.steps:
                training.steps.append(step)
                training.seen.append(examine(model, examined_on))
                training.losses.append(float(torch.stack(recent).mean()) if recent else float("nan"))
                recent.clear()
                training.save(checkpoint, settings)
            if step < n_steps:
                recent.append(_one_step(network, optimizer, batch(step)))
                bar.advance()
    model.requires_grad_(False)
    return training


def _one_step(network: torch.nn.Module, optimizer: torch.optim.Optimizer, tokens: Tensor) -> Tensor:
    output = network(tokens[:, :-1])
    logits = getattr(output, "logits", output)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.detach()
