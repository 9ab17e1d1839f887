"""Causal basis extraction: the directions of a layer that a lens's prediction hangs on most, and whether the model's
own prediction hangs on them too (Belrose et al. 2023, section 4.2; the method is theirs, written anew).

A direction's influence is the mean KL between the prediction before and after every token's component along it is put
to the mean. The basis is greedy: each direction has the most influence among those orthogonal to the earlier ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.hooks.partial import run
from interp.lens.translators import TunedLens
from interp.lens.tuned_divergence import Target, Unembedding, divergence
from interp.lens.tuned_reading import lens_settings
from interp.lens.tuned_streams import draw_positions, streams_at, usual_tokens
from interp.lens.tuned_texts import Texts, as_contexts, tokens_sha256
from interp.models import identity
from interp.results import Axis, Plot, Result, Values, mean_with_interval
from interp.runs import progress, provenance

MEASURED = ("lens", "model")
N_RANDOM = 6
"""Random directions to compare with."""
GUESSES = 32
"""Random directions among which a search begins, beside the leading singular directions of the lens's gradients."""


class CausalBasis(Result):
    """Axes: layer, direction (1, 2, ... by the search; "random 1", ... for comparison), measured ("lens", "model").

    influence [layer, direction, measured], low, high: mean KL in nats when the direction is put to its mean, in what
    the lens reads and in what the model predicts. alignment [layer, direction]: cosine between the two changes of the
    log-probabilities, weighted by the model's prediction (Aitchison), mean over tokens. agreement [layer]: rank
    correlation of the two influences over all directions. directions [layer, direction, d_model]: of length 1.
    """

    kind: ClassVar[str] = "causal_basis"


def causal_basis(
    model: Any,
    lens: TunedLens,
    texts: Texts,
    *,
    layers: Sequence[int] | int | None = None,
    k: int = 6,
    n_random: int = N_RANDOM,
    context: int = 128,
    n: int = 16,
    positions: int = 8,
    n_iterations: int = 12,
    prepend_bos: bool = False,
    seed: int = 0,
) -> CausalBasis:
    """The `k` most influential directions of some layers, beside `n_random` random ones, in the lens and in the model.

    layers: default four of them, spread out. n, context, positions: contexts, their length, and the tokens of each at
    which influence is measured. n_iterations: steps of L-BFGS for each direction; one over t tokens takes about
    4 d_model * vocabulary * t operations. In the model the direction is put to its mean at every position, and the
    blocks from that layer on run again. Raises InputError for layers and sizes that do not exist or leave nothing.
    """
    started = datetime.now()
    lens.check(model)
    chosen = basis_layers(lens, layers, k, n_random)
    generator = torch.Generator().manual_seed(seed)
    contexts = as_contexts(model, texts, context, n, prepend_bos=prepend_bos, seed=seed)
    at = draw_positions(len(contexts), context, positions, generator)
    work = _Work(model, lens, Unembedding.of(model), contexts, at)
    found = []
    with progress(len(chosen) * (k + n_random), "causal bases") as bar:
        for layer in chosen:
            found.append(work.layer(layer, k, n_random, n_iterations, generator, bar))
    names = (*(str(i + 1) for i in range(k)), *(f"random {i + 1}" for i in range(n_random)))
    settings = {
        "k": k,
        "n_random": n_random,
        "context": context,
        "n": len(contexts),
        "positions": positions,
        "n_iterations": n_iterations,
        "tokens_sha256": tokens_sha256(contexts),
        "lens": lens_settings(lens),
    }
    return CausalBasis(
        values=_values(found, chosen, names),
        settings=settings,
        provenance=provenance(model=identity(model), started=started, seed=seed),
        plots=_plots(len(contexts)),
    )


def basis_layers(lens: TunedLens, layers: Sequence[int] | int | None, k: int, n_random: int = N_RANDOM) -> list[int]:
    """The layers of a causal basis, four spread out where none are given.

    Raises InputError for layers that the lens does not have, and for directions that do not fit: before any work.
    """
    if k < 1 or k + n_random > lens.d_model:
        raise InputError(f"k={k} and n_random={n_random} directions do not fit a stream of width {lens.d_model}")
    if layers is None:
        return sorted({round(share * (lens.n_layers - 1)) for share in (0.2, 0.4, 0.6, 0.8)})
    chosen = [layers] if isinstance(layers, int) else list(layers)
    wrong = [layer for layer in chosen if not 0 <= layer < lens.n_layers]
    if wrong or not chosen:
        which = f"layer {wrong[0]}" if wrong else "layers"
        raise InputError(f"there is no {which}; blocks are 0 to {lens.n_layers - 1}")
    return chosen


@dataclass(frozen=True, eq=False)
class _Found:
    """directions [direction, d_model]; influence [direction, measured, context]; alignment [direction]."""

    directions: Float[Tensor, "direction d_model"]
    influence: Float[Tensor, "direction measured context"]
    alignment: Float[Tensor, " direction"]


@dataclass(frozen=True, eq=False)
class _Work:
    model: Any
    lens: TunedLens
    head: Unembedding
    contexts: Int[Tensor, "context pos"]
    at: Int[Tensor, "context position"]

    def layer(
        self, layer: int, k: int, n_random: int, n_iterations: int, generator: torch.Generator, bar: Any
    ) -> _Found:
        """Search a layer's directions, then measure them and random ones on both sides."""
        everywhere = torch.arange(self.contexts.shape[1]).expand(len(self.contexts), -1)
        streams = streams_at(self.model, self.contexts, everywhere)
        whole, last = streams[layer], streams[-1]
        here, final = _picked(whole, self.at), _picked(last, self.at)
        flat = here.flatten(0, 1)
        usual = usual_tokens(flat[None])
        centre = flat[usual].mean(0)
        basis = search(self.head, self.lens, layer, flat[usual], centre, k, n_iterations, generator, bar)
        random = torch.linalg.qr(torch.randn(flat.shape[1], n_random, generator=generator).to(flat))[0].T
        directions = torch.cat([basis, random])
        own = Target.of(self.head, final.flatten(0, 1))
        read = Target.of(self.head, self.lens(flat, layer))
        influence, alignment = [], []
        for direction in directions:
            changed = self.lens(put_to_mean(flat, direction, centre), layer)
            after = _picked(self._rerun(put_to_mean(whole, direction, centre), layer), self.at).flatten(0, 1)
            both = [divergence(self.head, changed, read).cpu(), divergence(self.head, after, own).cpu()]
            influence.append(
                torch.stack(both).view(2, *self.at.shape).masked_fill(~usual.view(self.at.shape), 0).sum(-1)
            )
            moves = aligned(self.head, own.normed, self.head.normed(after), read.normed, self.head.normed(changed))
            alignment.append(moves[usual].mean().cpu())
            bar.advance(0 if len(influence) <= k else 1)
        tokens = usual.view(self.at.shape).sum(-1).clamp(min=1)
        return _Found(directions, torch.stack(influence) / tokens, torch.stack(alignment))

    @torch.no_grad()
    def _rerun(self, streams: Float[Tensor, "context pos d_model"], layer: int) -> Tensor:
        """The last stream after the blocks from `layer` on."""
        return run(self.model, streams.to(self.model.W_U.dtype), layer, int(self.model.cfg.n_layers)).float()


def _picked(streams: Float[Tensor, "context pos d_model"], at: Tensor) -> Float[Tensor, "context position d_model"]:
    index = at[..., None].expand(-1, -1, streams.shape[-1]).to(streams.device)
    return streams.gather(1, index)


def put_to_mean(
    streams: Float[Tensor, "*any d_model"], direction: Float[Tensor, " d_model"], centre: Float[Tensor, " d_model"]
) -> Float[Tensor, "*any d_model"]:
    """Streams whose component along a direction of length 1 is that of `centre`."""
    return streams + ((centre - streams) @ direction)[..., None] * direction


def search(
    head: Unembedding,
    lens: TunedLens,
    layer: int,
    streams: Float[Tensor, "token d_model"],
    centre: Float[Tensor, " d_model"],
    k: int,
    n_iterations: int,
    generator: torch.Generator,
    bar: Any = None,
) -> Float[Tensor, "direction d_model"]:
    """Orthonormal directions of most influence on what the lens reads, greedily, by L-BFGS on the sphere."""
    target = Target.of(head, lens(streams, layer))

    def influence(direction: Tensor) -> Tensor:
        return divergence(head, lens(put_to_mean(streams, direction, centre), layer), target).mean()

    basis = streams.new_zeros(0, streams.shape[1])
    guesses = _guesses(head, lens, layer, streams, target, centre, generator)
    for _ in range(k):
        start = _projected(max(guesses, key=lambda guess: float(_tried(influence, _projected(guess, basis)))), basis)
        with torch.enable_grad():
            found = _climbed(influence, start, basis, n_iterations)
        basis = torch.cat([basis, found[None]])
        if bar is not None:
            bar.advance()
    return basis


@torch.no_grad()
def _tried(influence: Any, direction: Tensor) -> Tensor:
    return influence(direction)


def _projected(direction: Tensor, basis: Float[Tensor, "found d_model"]) -> Float[Tensor, " d_model"]:
    left = direction - (direction @ basis.T) @ basis
    return left / left.norm().clamp(min=1e-12)


def _climbed(influence: Any, start: Tensor, basis: Tensor, n_iterations: int) -> Float[Tensor, " d_model"]:
    free = start.clone().requires_grad_(True)
    optimiser = torch.optim.LBFGS([free], max_iter=n_iterations, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = -influence(_projected(free, basis))
        loss.backward()
        return loss

    optimiser.step(closure)
    return _projected(free.detach(), basis)


def _guesses(
    head: Unembedding,
    lens: TunedLens,
    layer: int,
    streams: Tensor,
    target: Target,
    centre: Tensor,
    generator: torch.Generator,
) -> list[Float[Tensor, " d_model"]]:
    """Where searches may begin: directions in which tokens differ most in what is read of them."""
    moved = (streams - centre) * 0.5 + centre  # a little way towards the mean, where the gradient is not 0
    with torch.enable_grad():
        point = moved.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(divergence(head, lens(point, layer), target).sum(), point)
    joint = slope.T @ (streams - centre)
    leading = torch.linalg.svd(joint + joint.T)[0][:, : GUESSES // 4].T
    return [*leading, *torch.randn(GUESSES // 8, streams.shape[1], generator=generator).to(streams)]


@torch.no_grad()
def aligned(
    head: Unembedding,
    own: Float[Tensor, "token d_model"],
    own_after: Float[Tensor, "token d_model"],
    read: Float[Tensor, "token d_model"],
    read_after: Float[Tensor, "token d_model"],
) -> Float[Tensor, " token"]:
    """Cosine between two changes of log-probabilities, each less its mean, weighted by the model's own distribution.

    All four are normed vectors: the model's before and after, and the lens's.
    """
    parts = []
    for start in range(0, len(own), head.rows_at_a_time()):
        rows = slice(start, start + head.rows_at_a_time())
        before = head.logits(own[rows])
        weights = before.softmax(-1)
        changes = [head.logits(own_after[rows]) - before, head.logits(read_after[rows]) - head.logits(read[rows])]
        a, b = (change - (weights * change).sum(-1, keepdim=True) for change in changes)
        lengths = (weights * a * a).sum(-1).sqrt() * (weights * b * b).sum(-1).sqrt()
        parts.append((weights * a * b).sum(-1) / lengths.clamp(min=1e-12))
    return torch.cat(parts)


def _values(found: list[_Found], layers: list[int], names: tuple[str, ...]) -> dict[str, Values]:
    layer, direction = Axis("layer", tuple(layers)), Axis("direction", names)
    data = torch.stack([part.influence for part in found])  # [layer, direction, measured, context]
    examples = Axis("example", tuple(range(data.shape[-1])))
    every = Values(data.movedim(-1, 0), (examples, layer, direction, Axis("measured", MEASURED)), "nats")
    mean = mean_with_interval(every)
    ranks = mean["mean"].data.argsort(1).argsort(1).double()
    centred = ranks - ranks.mean(1, keepdim=True)
    lens, model = centred.unbind(-1)
    correlation = (lens * model).sum(-1) / (lens.norm(dim=-1) * model.norm(dim=-1))
    return {
        "influence": mean["mean"],
        "low": mean["low"],
        "high": mean["high"],
        "influence_per_context": every,
        "alignment": Values(torch.stack([part.alignment for part in found]), (layer, direction), "cosine"),
        "agreement": Values(correlation, (layer,), "rank correlation"),
        "directions": Values(
            torch.stack([part.directions for part in found]),
            (layer, direction, Axis("d_model", tuple(range(found[0].directions.shape[-1])))),
        ),
    }


def _plots(n: int) -> tuple[Plot, ...]:
    return (
        Plot(
            "heatmap",
            "influence",
            x="direction",
            y="layer",
            series="measured",
            title="Influence of directions on the lens and on the model",
            caption=(
                "Mean KL between the predictions before and after a direction is put to its mean, over "
                f"{n} contexts: directions found by the search, and random ones."
            ),
            caveat="The search sees the tokens it is measured on, and the model is changed at all positions.",
            options={"colour_label": "nats"},
        ),
        Plot(
            "heatmap",
            "alignment",
            x="direction",
            y="layer",
            title="Do lens and model change alike?",
            caption="Cosine between the two changes of the log-probabilities, weighted by the model's prediction.",
            options={"zero_centred": True, "colour_label": "cosine"},
        ),
    )
