"""What can be done to an activation: ablate, patch, steer, project out, scale, knock out attention, freeze, add noise.

Each function describes one intervention; `interp.intervene` carries them out. All of them take the same selection:

    heads      which heads (sites with heads)               positions  which tokens, see interp.hooks.selecting
    rows       which prompts of the batch                   units      which neurons, latents or residual coordinates

and None means all. Nothing is computed before the model runs, so that one description serves many runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.hooks.capturing import Activations, AnySite
from interp.hooks.latents import as_any_site
from interp.hooks.prompts import PromptTokens
from interp.hooks.references import Donor, Here, MeanOver, mean_of, reference_tokens, resample_of, same_rows
from interp.hooks.selecting import Positions, full_width, position_index, selection_mask
from interp.hooks.sites import Site, has_live_scores

Edit = Callable[[Tensor, Here], Tensor]
Reference = Activations | Tensor | None


@dataclass(frozen=True, eq=False)
class Intervention:
    """One change to one activation: `edit` gives the new values, the selection says where they apply.

    keys: the attention keys it names, if any. prompts: the tokens that named positions and groups refer to when the
    run's own do not say. by_row: whether the new values differ by row beyond what the selection says.
    on_model: gives the intervention in the form this model needs; most are the same on every model.
    """

    site: AnySite
    edit: Edit
    label: str
    heads: Sequence[int] | None = None
    positions: Positions = None
    rows: Any = None
    units: Sequence[int] | None = None
    keys: Positions = None
    prompts: PromptTokens | None = None
    by_row: bool = False
    on_model: Callable[[Any], Intervention] | None = None

    def __repr__(self) -> str:
        return f"Intervention({self.label})"

    @property
    def names(self) -> tuple[str, ...]:
        """The named positions it refers to."""
        given = [self.positions, self.keys]
        items = [item for part in given for item in (part if isinstance(part, list | tuple) else [part])]
        return tuple(item for item in items if isinstance(item, str))

    @property
    def tells_rows_apart(self) -> bool:
        """Whether it does different things to different rows, so that the batch may not be cut."""
        tensors = isinstance(self.positions, Tensor) or isinstance(self.keys, Tensor)
        return self.by_row or self.rows is not None or tensors


def ablate(
    site: AnySite | str,
    heads: Sequence[int] | None = None,
    positions: Positions = None,
    rows: Any = None,
    units: Sequence[int] | None = None,
    *,
    value: Literal["zero", "mean", "resample", "counterfactual"] | int | float = "zero",
    reference: Reference = None,
    mean_over: MeanOver = "all",
    seed: int = 0,
) -> Intervention:
    """Replace an activation by something that carries no information about the prompt.

    value: "zero"; a number; "mean" over `reference` (a capture of the same site on other prompts; mean_over "all"
    tokens, per "position", or per "group" and position); "resample", another prompt's activation, drawn with `seed`
    from the prompt's group where the reference has another one of it; "counterfactual", the same row of the paired
    corrupt run. Raises InputError, as the model runs, where a reference has only padding at a token that is written.
    The mean over all tokens leaves out pads, the first position and tokens whose norm is over 10 times the median:
    a single attention sink would otherwise be the mean. Source of the choices: Zhang & Nanda 2024, "Towards Best
    Practices of Activation Patching".
    """
    site = as_any_site(site)
    chosen: dict[str, Any] = {"heads": heads, "positions": positions, "rows": rows, "units": units}
    if isinstance(value, int | float) or value == "zero":
        number = 0.0 if value == "zero" else float(value)
        return Intervention(site, lambda x, here: torch.full_like(x, number), f"ablate {site} to {number:g}", **chosen)
    edits: dict[str, Callable[[Reference], Edit]] = {
        "mean": lambda given: mean_of(given, site, mean_over),
        "resample": lambda given: resample_of(given, site, seed),
        "counterfactual": lambda given: same_rows(given, site),
    }
    if value not in edits:
        raise InputError(f"value is 'zero', 'mean', 'resample', 'counterfactual' or a number, not {value!r}")
    if reference is None:
        raise InputError(
            f"ablating to the {value} needs reference=, the activations it comes from: "
            f"interp.capture(model, {'task.corrupt' if value == 'counterfactual' else 'tokens'}, site)"
        )
    label = f"ablate {site} to {value}" + (f" over {mean_over}" if value == "mean" else "")
    by_row = value != "mean"
    edit, prompts = edits[value](reference), reference_tokens(reference)
    return Intervention(site, edit, label, prompts=prompts, by_row=by_row, **chosen)


def patch(
    site: AnySite | str,
    source: Activations | Tensor,
    heads: Sequence[int] | None = None,
    positions: Positions = None,
    rows: Any = None,
    units: Sequence[int] | None = None,
    *,
    source_positions: Positions = None,
) -> Intervention:
    """Put another run's activation in: row i of `source` ([batch, pos, ...]) into row i of this run.

    source_positions: take the values from these positions instead of the same ones (as many as `positions`).
    """
    site = as_any_site(site)
    if source_positions is not None and positions is None:
        raise InputError("source_positions says where values come from; say with positions where they go")
    moves = source_positions is not None
    edit = _moved(source, site, positions, source_positions) if moves else same_rows(source, site)
    chosen: dict[str, Any] = {"heads": heads, "positions": positions, "rows": rows, "units": units}
    return Intervention(site, edit, f"patch {site}", prompts=reference_tokens(source), by_row=True, **chosen)


def _moved(source: Activations | Tensor, site: AnySite, positions: Positions, source_positions: Positions) -> Edit:
    """Values from other positions of the source: the k-th of `source_positions` goes to the k-th of `positions`."""
    donor = Donor.of(source, site)
    if donor.single or not donor.whole:
        raise InputError("source_positions needs a source with all of its positions; capture it without positions")
    n_rows, n_there = donor.real.shape
    taken_from = position_index(source_positions, n_rows, n_there, donor.prompts)

    def moved(x: Tensor, here: Here) -> Tensor:
        if here.base_batch % n_rows:
            raise InputError(f"the reference has {n_rows} rows, the run {here.base_batch}; capture the same prompts")
        n_pos = x.shape[site.pos_dim]
        width = full_width(positions, here.offset + n_pos, here.prompts)
        goes_to = position_index(positions, here.base_batch, width, here.prompts) - here.offset
        if taken_from.shape[1] != goes_to.shape[1]:
            raise InputError(f"{taken_from.shape[1]} source positions for {goes_to.shape[1]} positions; give as many")
        into = x.movedim(site.pos_dim, 1).clone()
        given = donor.values.to(x).movedim(site.pos_dim, 1)
        # Positions that came by in an earlier pass, or come in a later one, are not there.
        rows, columns = ((goes_to >= 0) & (goes_to < n_pos)).nonzero(as_tuple=True)
        to, source_at = goes_to[rows, columns], taken_from[rows % n_rows, columns]
        for copy in range(x.shape[0] // here.base_batch):
            into[rows + copy * here.base_batch, to] = given[rows % n_rows, source_at]
        return into.movedim(1, site.pos_dim)

    return moved


def steer(
    site: AnySite | str,
    vector: Float[Tensor, "*dims"],
    coefficient: float = 1.0,
    heads: Sequence[int] | None = None,
    positions: Positions = None,
    rows: Any = None,
) -> Intervention:
    """Add coefficient * vector. vector: [d], or anything that broadcasts to the activation's last dimensions."""
    site = as_any_site(site)

    def edit(x: Tensor, here: Here) -> Tensor:
        if vector.shape[-1] != x.shape[-1]:
            raise InputError(f"the vector has {vector.shape[-1]} dimensions, {site} has {x.shape[-1]}")
        return x + coefficient * vector.to(x)

    return Intervention(site, edit, f"steer {site} by {coefficient:g}", heads, positions, rows)


def project_out(
    site: AnySite | str,
    directions: Float[Tensor, "*k d"],
    heads: Sequence[int] | None = None,
    positions: Positions = None,
    rows: Any = None,
) -> Intervention:
    """Remove the component along the span of `directions` ([d] or [k, d]; they need not be orthogonal or of norm 1)."""
    site = as_any_site(site)
    stacked = directions.detach().float().reshape(-1, directions.shape[-1])
    basis, kept, _ = torch.linalg.svd(stacked.T, full_matrices=False)
    basis = basis[:, kept > 1e-6 * kept.max()]
    if basis.shape[1] == 0:
        raise InputError("the directions are all zero; there is nothing to project out")

    def edit(x: Tensor, here: Here) -> Tensor:
        if basis.shape[0] != x.shape[-1]:
            raise InputError(f"the directions have {basis.shape[0]} dimensions, {site} has {x.shape[-1]}")
        span = basis.to(x)
        return x - (x @ span) @ span.T

    return Intervention(site, edit, f"project {basis.shape[1]} directions out of {site}", heads, positions, rows)


def scale(
    site: AnySite | str,
    factor: float,
    heads: Sequence[int] | None = None,
    positions: Positions = None,
    rows: Any = None,
    units: Sequence[int] | None = None,
) -> Intervention:
    """Multiply by a factor."""
    site = as_any_site(site)
    return Intervention(site, lambda x, here: x * factor, f"scale {site} by {factor:g}", heads, positions, rows, units)


def freeze(sites: Sequence[AnySite | str] | AnySite | str, reference: Activations) -> list[Intervention]:
    """Hold activations at what they were in `reference` (the same prompts): attention patterns, norm scales, ..."""
    several = list(sites) if isinstance(sites, Sequence) and not isinstance(sites, str) else [sites]
    return [replace(patch(site, reference), label=f"freeze {as_any_site(site)}") for site in several]


def add_noise(
    site: AnySite | str,
    std: float,
    positions: Positions = None,
    rows: Any = None,
    *,
    seed: int = 0,
) -> Intervention:
    """Add Gaussian noise of standard deviation `std`, in the activation's own units; the same for the same seed.

    Causal tracing corrupts the subject's embeddings with 3 times their standard deviation (Meng et al. 2022,
    "Locating and Editing Factual Associations in GPT", section 2.1).
    """
    site = as_any_site(site)

    def edit(x: Tensor, here: Here) -> Tensor:
        dim = site.pos_dim
        shape = (here.base_batch, *x.select(dim, 0).shape[1:])
        # By absolute position and prompt: a run over a suffix, a generation or a folded copy meets the same noise.
        drawn = [_noise(shape, seed, here.offset + position) for position in range(x.shape[dim])]
        noise = torch.stack(drawn, dim).repeat(x.shape[0] // here.base_batch, *[1] * (x.ndim - 1))
        return x + (std * noise).to(x)

    chosen: dict[str, Any] = {"positions": positions, "rows": rows}
    return Intervention(site, edit, f"noise of {std:g} at {site}", by_row=True, **chosen)


def _noise(shape: tuple[int, ...], seed: int, position: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed * 1_000_003 + position))


def knock_out_attention(
    layer: int,
    queries: Positions = None,
    keys: Positions = None,
    heads: Sequence[int] | None = None,
    rows: Any = None,
) -> Intervention:
    """Forbid attention from `queries` to `keys`, before the softmax: the other keys share what they received.

    Raises InputError when a query would have no key left. Source: Geva et al. 2023, "Dissecting Recall of Factual
    Associations", section 4.
    """
    if keys is None:
        raise InputError("without keys nothing would be left to attend to; name the keys, or ablate sites.z")

    def blocked(x: Tensor, here: Here) -> Tensor:
        mask = selection_mask(keys, None, here.base_batch, x.shape[3], 0, here.prompts)
        return mask.repeat(x.shape[0] // here.base_batch, 1)[:, None, None, :].to(x.device)

    def on_scores(x: Tensor, here: Here) -> Tensor:
        mask = blocked(x, here)
        # Masked entries hold the dtype's minimum or -inf already; what counts is that an open one remains.
        _refuse_empty((x > torch.finfo(x.dtype).min / 2) & ~mask, here)
        return x.masked_fill(mask, torch.finfo(x.dtype).min)

    def on_pattern(x: Tensor, here: Here) -> Tensor:
        left = x.masked_fill(blocked(x, here), 0.0)
        _refuse_empty(left > 0, here)
        # Zeroing a probability and renormalising is the same as a score of minus infinity.
        return left / left.sum(-1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)

    label = f"knock out attention in layer {layer}"
    chosen: dict[str, Any] = {"heads": heads, "positions": queries, "rows": rows, "keys": keys}
    scores = Intervention(Site("scores", layer), on_scores, label, **chosen)
    pattern = Intervention(Site("pattern", layer), on_pattern, label, **chosen)
    # The scores site itself may be absent, so the pattern's description stands until a model is known.
    return replace(pattern, on_model=lambda model: scores if has_live_scores(model, layer) else pattern)


def _refuse_empty(open_keys: Tensor, here: Here) -> None:
    """Queries (where the intervention applies) that keep no key would attend to everything alike, pads included."""
    without_key = ~open_keys.any(-1)
    if bool((without_key if here.mask is None else without_key & here.mask.squeeze(-1)).any()):
        raise InputError("a query would have no key left to attend to; leave it one key, or ablate sites.z there")
