"""Training a tuned lens: every layer's translator, in one pass over the model, to predict what the model predicts.

The loss is the mean KL divergence of what is read at a layer from the model's own prediction (Belrose et al. 2023,
section 2.2), by Adam in whitened coordinates (`tuned_coordinates`). What it costs: of a token that is read, for each
layer two products with the columns of the vocabulary that are used, 4 d_model * vocabulary operations; the model itself
about 2 per parameter and token. With all columns the products are twelve times the model's own work in SmolLM2-135M;
hence `positions` (read some tokens of each context) and `vocabulary` (estimate the normaliser from some columns).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.lens.translators import TunedLens, described_model
from interp.lens.tuned_checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from interp.lens.tuned_checks import HeldOut, held_apart, is_checked
from interp.lens.tuned_coordinates import measure_coordinates
from interp.lens.tuned_divergence import Columns, Target, Unembedding, divergence
from interp.lens.tuned_streams import draw_positions, streams_at, usual_tokens
from interp.lens.tuned_texts import Texts, as_contexts, tokens_sha256
from interp.runs import progress

_LOG = logging.getLogger("interp")
HISTORY = 50
"""Entries of the loss history."""


@dataclass(frozen=True)
class LensTraining:
    """How a tuned lens is trained.

    What is read: n_steps of Adam; in each, contexts of `context` tokens (the unit that the model reads), `contexts` of
    them, and of each so many `positions`, drawn anew each time, never the first. prepend_bos: every context begins with
    BOS. vocabulary: columns that the normaliser is estimated from; 0 for all, without any estimate. seed: the order of
    the contexts, and which positions and columns are drawn.

    Where it begins and how far it goes: measured: contexts that the coordinates and the regression are measured on;
    their tokens should be several times the width of the stream. start: "regression", the ridge regression of the last
    stream on each layer's, or "identity", translators that change nothing. learning_rate: Adam's at the first step, in
    whitened coordinates; it falls to 0 along a line. checked: contexts held out, on which every layer's best
    translators are chosen, the identity among them (`tuned_checks`); at most a quarter of all.
    """

    n_steps: int = 40
    context: int = 256
    contexts: int = 4
    positions: int = 128
    vocabulary: int = 4096
    learning_rate: float = 1e-3
    start: Literal["regression", "identity"] = "regression"
    measured: int = 32
    checked: int = 8
    prepend_bos: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_steps", "contexts", "positions", "measured", "checked"):
            if getattr(self, name) < (0 if name == "n_steps" else 1):
                raise InputError(f"{name}={getattr(self, name)} trains nothing; use at least 1")
        if self.vocabulary and self.vocabulary < 2:
            raise InputError(f"vocabulary={self.vocabulary} columns say nothing; use some thousands, or 0 for all")
        if self.start not in ("regression", "identity"):
            raise InputError(f"start is 'regression' or 'identity', not {self.start!r}")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate={self.learning_rate} is no step; use a positive number")

    @property
    def n_contexts(self) -> int:
        """Contexts that the training has a use for; of fewer, it reads some again."""
        return self.measured + self.n_steps * self.contexts + self.checked


def train_tuned_lens(
    model: Any,
    texts: Texts,
    settings: LensTraining = LensTraining(),
    *,
    directory: str | Path | None = None,
    every: int = 50,
    report: Callable[[int, Tensor], None] | None = None,
) -> TunedLens:
    """Train translators for all layers of any model whose logits are final norm and unembedding.

    texts: a list of documents (texts, or (name, text)), of which contexts are drawn at random; an iterator of them,
    read in order as far as needed; or token ids [context, pos]. directory: keep a checkpoint there every `every` steps
    and on Ctrl-C, and go on from it; the same numbers come out as without the interruption. report: called with (step,
    KL of each layer in nats) as often as the history has entries.

    Raises InputError for texts shorter than a context, a checkpoint of another training, and models that cannot be
    read layer by layer; StorageError when the disk refuses a checkpoint.
    """
    head = Unembedding.of(model)
    bos = settings.prepend_bos
    contexts = as_contexts(model, texts, settings.context, settings.n_contexts, prepend_bos=bos, seed=settings.seed)
    trained = {**asdict(settings), "tokens_sha256": tokens_sha256(contexts), "n_contexts": len(contexts)}
    own = described_model(model)
    order = torch.randperm(len(contexts), generator=torch.Generator().manual_seed(settings.seed))
    contexts, apart = held_apart(contexts[order], settings.checked)
    n_measured = min(settings.measured, len(contexts)) * (settings.context - 1)
    trained |= {"n_checked": len(apart), "n_measured_tokens": n_measured, "d_model": int(model.cfg.d_model)}
    if few := too_few_tokens(trained):
        _LOG.warning("%s", few)
    work = _Work(model, head, contexts, HeldOut.of(model, head, apart, settings.seed), settings)
    key = trained | {"weights_sha256": own["weights_sha256"]}
    file = None if directory is None else Path(directory).expanduser()
    kept = None if file is None else read_checkpoint(file, key)
    if kept is not None:
        _LOG.warning("going on from training step %d of %d", kept.step, settings.n_steps)
    state = (work.begin() if kept is None else kept).to(head.weights.device)
    _train(work, state, file, every, key, report)
    weights, biases = state.coordinates.fold(*state.best)
    return TunedLens(weights, biases, own, trained | _found(state))


def too_few_tokens(training: Mapping[str, Any]) -> str:
    """A sentence where the coordinates of a training were measured on fewer tokens than a stream has directions.

    training: `TunedLens.training`. Empty where there are enough, or where it does not say.
    """
    n_tokens, d_model = training.get("n_measured_tokens"), training.get("d_model")
    if n_tokens is None or d_model is None or n_tokens >= d_model:
        return ""
    enough = -(-d_model // (int(training["context"]) - 1))
    return (
        f"the coordinates are measured on {n_tokens} tokens, and a stream has {d_model} directions: translators of so "
        f"little data are rough; use measured={enough} (--measured {enough}) or more, and texts of as many contexts"
    )


def _train(
    work: _Work,
    state: Checkpoint,
    file: Path | None,
    every: int,
    key: dict[str, Any],
    report: Callable[[int, Tensor], None] | None,
) -> None:
    """All steps that are left, in place, with the checks that fall due between them."""
    n_steps = work.settings.n_steps
    with progress(n_steps, "training the tuned lens") as bar:
        bar.resume(state.step)
        try:
            while True:
                if is_checked(state.step, n_steps) and state.held_out[-1][0] < state.step:
                    work.held_out.check(state)
                if file is not None and state.step and state.step % every == 0:
                    write_checkpoint(file, state, key)
                if state.step >= n_steps:
                    break
                losses = work.step(state)
                if state.history[-1][0] == state.step:
                    bar.note = f"KL {float(losses.mean()):.3g} nats"
                    if report is not None:
                        report(state.step, losses)
                bar.advance()
        except KeyboardInterrupt as interrupt:
            if file is not None and state.whole:
                write_checkpoint(file, state, key)
                interrupt.add_note(f"step {state.step} of {n_steps} is kept in {file}")
            raise


def _found(state: Checkpoint) -> dict[str, Any]:
    """What the training says of itself: see `Checkpoint`."""
    return {
        "history": state.history,
        "held_out": state.held_out,
        "identity_kl": state.identity_losses.tolist(),
        "kept_steps": state.best_steps.tolist(),
    }


def _is_told(step: int, n_steps: int) -> bool:
    return step == 1 or step == n_steps or step % max(1, n_steps // HISTORY) == 0


@dataclass(frozen=True, eq=False)
class _Work:
    model: Any
    head: Unembedding
    contexts: Int[Tensor, "context pos"]
    held_out: HeldOut
    settings: LensTraining

    def begin(self) -> Checkpoint:
        """Coordinates, start and an optimiser that has not moved."""
        chosen = self.settings
        coordinates, mixing, shift = measure_coordinates(self.model, self.contexts[: chosen.measured])
        if chosen.start == "identity":
            mixing, shift = torch.zeros_like(mixing), torch.zeros_like(shift)
        return self.held_out.begin(coordinates, mixing, shift)

    def step(self, state: Checkpoint) -> Float[Tensor, " layer"]:
        """One step of Adam on every layer, in place; returns the KL of each layer before it.

        Everything drawn depends on the seed and the number of the step alone.
        """
        chosen = self.settings
        generator = torch.Generator().manual_seed(chosen.seed * 1_000_003 + state.step)
        # After the contexts that were measured, so that the losses are of texts not seen yet, while there are any.
        first = chosen.measured + state.step * chosen.contexts
        at = torch.arange(first, first + chosen.contexts) % len(self.contexts)
        positions = draw_positions(len(at), chosen.context, min(chosen.positions, chosen.context - 1), generator)
        streams = streams_at(self.model, self.contexts[at], positions).flatten(1, 2)
        streams = streams[:, usual_tokens(streams)].to(self.head.weights.device)
        target = Target.of(self.head, streams[-1])
        columns = Columns.drawn(target, chosen.vocabulary, generator) if chosen.vocabulary else None
        slopes: list[tuple[Tensor, Tensor]] = []
        losses = []
        for layer in range(len(streams) - 1):
            losses.append(self._layer(state, layer, streams[layer], target, columns, slopes))
        told = torch.stack(losses)
        kept = told if _is_told(state.step + 1, chosen.n_steps) else None
        state.adam(slopes, chosen.learning_rate * (1 - state.step / chosen.n_steps), kept)
        return told

    def _layer(
        self,
        state: Checkpoint,
        layer: int,
        stream: Float[Tensor, "token d_model"],
        target: Target,
        columns: Columns | None,
        slopes: list[tuple[Tensor, Tensor]],
    ) -> Float[Tensor, ""]:
        """A layer's mean KL; its gradient goes to `slopes`. One layer at a time, so that memory holds one."""
        inputs = state.coordinates.inputs(stream, layer)
        with torch.enable_grad():
            mixing = state.mixing[layer].detach().requires_grad_(True)
            shift = state.shift[layer].detach().requires_grad_(True)
            moved = stream + state.coordinates.scale * (inputs @ mixing.T + shift)
            loss = divergence(self.head, moved, target, columns).mean()
            slopes.append(torch.autograd.grad(loss, (mixing, shift)))  # type: ignore[arg-type]
        return loss.detach()
