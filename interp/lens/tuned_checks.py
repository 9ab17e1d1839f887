"""Which translators of a training are kept: of each layer the best on contexts that the training itself never reads.

A training of few tokens can make a layer worse than it was, and Adam does not know. So the KL of every layer is
measured now and then on the same held-out tokens, with the whole vocabulary: the best translators seen are kept, from
the identity on, and a layer that has become worse goes back to its best and goes on with half the rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.lens.tuned_checkpoints import Checkpoint
from interp.lens.tuned_coordinates import Coordinates
from interp.lens.tuned_divergence import Target, Unembedding, divergence
from interp.lens.tuned_streams import draw_positions, streams_at, usual_tokens

POSITIONS = 16
"""Tokens of each held-out context."""
WORSE = 1.1
"""A layer whose held-out KL is this many times its best goes back."""
OFTEN = 32
"""Checks come after 1, 2, 4, 8, 16 steps, every so many steps, and at the end."""


def is_checked(step: int, n_steps: int) -> bool:
    """Whether the translators are compared with the best ones after this step."""
    return step == n_steps or step % OFTEN == 0 or (step < OFTEN and step & (step - 1) == 0)


def held_apart(
    contexts: Int[Tensor, "context pos"], n: int
) -> tuple[Int[Tensor, "training pos"], Int[Tensor, "held_out pos"]]:
    """The contexts of the training, and `n` held out of it: at most a quarter, and at least one.

    Raises InputError where there is one context in all.
    """
    if len(contexts) < 2:
        raise InputError(
            "the texts make one context, and a lens takes two: one to train on and one to check it on; use longer "
            "texts or a shorter context"
        )
    n_held = max(1, min(n, len(contexts) // 4))
    return contexts[:-n_held], contexts[-n_held:]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """streams [layer, token, d_model] of tokens that are not trained on, and the model's own predictions of them."""

    head: Unembedding
    streams: Float[Tensor, "layer token d_model"]
    target: Target

    @classmethod
    def of(cls, model: Any, head: Unembedding, contexts: Int[Tensor, "context pos"], seed: int) -> HeldOut:
        """A few tokens of each context, drawn by the seed."""
        n_contexts, length = contexts.shape
        generator = torch.Generator().manual_seed(seed)
        at = draw_positions(n_contexts, length, min(POSITIONS, length - 1), generator)
        streams = torch.cat([streams_at(model, *rows) for rows in zip(contexts.split(4), at.split(4))], dim=1)
        streams = streams.flatten(1, 2)
        streams = streams[:, usual_tokens(streams)].to(head.weights.device)
        return cls(head, streams[:-1], Target.of(head, streams[-1]))

    @torch.no_grad()
    def losses(self, coordinates: Coordinates, mixing: Tensor, shift: Tensor) -> Float[Tensor, " layer"]:
        """The mean KL of each layer's translator, exact."""
        found = []
        for layer, stream in enumerate(self.streams):
            moved = stream + coordinates.scale * (coordinates.inputs(stream, layer) @ mixing[layer].T + shift[layer])
            found.append(divergence(self.head, moved, self.target).mean())
        return torch.stack(found)

    def begin(self, coordinates: Coordinates, mixing: Tensor, shift: Tensor) -> Checkpoint:
        """A training that starts from these translators, or from the identity in layers where that is better."""
        nothing = self.losses(coordinates, torch.zeros_like(mixing), torch.zeros_like(shift))
        started = self.losses(coordinates, mixing, shift)
        worse = ~(started < nothing)
        mixing[worse], shift[worse] = 0.0, 0.0
        state = Checkpoint.fresh(coordinates, mixing, shift)
        state.best_losses = torch.where(worse, nothing, started)
        state.held_out = [[0.0, *state.best_losses.tolist()]]
        state.identity_losses = nothing
        return state

    def check(self, state: Checkpoint) -> None:
        """Keep the layers that are better than their best, and put back those that are worse, in place."""
        losses = self.losses(state.coordinates, state.mixing, state.shift)
        state.keep(losses, put_back=~(losses <= WORSE * state.best_losses))  # what is no number is worse, too
