"""`node_attribution`: the effect of patching every node at once, estimated from gradients.

Attribution patching (Nanda 2023, "Attribution Patching: Activation Patching At Industrial Scale"), with integrated
gradients (Sundararajan et al. 2017; Marks et al. 2024 for activations) and the corrections of AtP* (Kramár et al.
2024). `interp.patching.sweep` gives the same numbers exactly, one run a node; `compare_with_exact` says how far off
an estimate is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.hooks.capturing import capture
from interp.hooks.partial import run
from interp.hooks.prompts import PromptTokens
from interp.models import identity
from interp.patching.node_gradients import along_the_activations, along_the_inputs, at_the_run, with_layers_dropped
from interp.patching.nodes import Nodes, NodeSet, as_nodes, by_place
from interp.patching.outcome import PatchingResult, outcome
from interp.patching.packing import DEFAULT_BUDGET
from interp.patching.query_key_fix import PatternChange, pattern_changes
from interp.results import Provenance
from interp.runs import progress, provenance
from interp.tasks import PromptPairs
from interp.tasks.metric import Metric

METHODS = ("attribution", "ig", "ig-activations")


class NodeAttribution(PatchingResult):
    """Estimated effects of patching nodes, in the units and with the signs of `sweep`.

    values as of a `PatchingResult`: "effect" with "low" and "high", "effect_per_example", "clean", "corrupt" and
    "normalised". With GradDrop the estimates are sizes without sign (`settings["signed"]` is False).
    """

    kind: ClassVar[str] = "node_attribution"


def node_attribution(
    model: Any,
    task: PromptPairs,
    nodes: Nodes = "heads",
    by: Sequence[str] | str | None = None,
    direction: str = "denoise",
    *,
    method: str = "attribution",
    steps: int = 5,
    qk_fix: bool = False,
    grad_drop: bool = False,
    layers: Sequence[int] | None = None,
    batch_size: int | None = None,
    memory_budget: int = DEFAULT_BUDGET,
) -> NodeAttribution:
    """Estimate, for every node at once, what `sweep` would measure by patching it.

    nodes: "heads" (z), "mlps" (mlp_out), "neurons" (mlp_post), q, k, v, attn_out, resid_pre, resid_mid, resid_post, or
    a LatentSite or several. by: "layer" with any of "head" / "neuron" / "latent" and "position" or "role" (default:
    layer and unit, all positions together). direction: "denoise" estimates m(patched) - m(corrupt) with gradients of
    the corrupt run, "noise" m(clean) - m(patched) with those of the clean run; both are (clean - corrupt) · gradient.

    method: where the gradient is taken.
        attribution     at the run itself: two forward passes and one backward pass for all nodes
        ig              averaged over `steps` runs whose embeddings go from one prompt's to the other's
        ig-activations  averaged over `steps` runs in which all nodes of one layer go from one run's values to the
                        other's, for each layer
    The integrals use the midpoint rule. qk_fix: for q and k, recompute the softmax exactly and linearise only what
    follows (AtP*, section 3.1). grad_drop: for each layer a backward pass without the gradient through what the layer
    adds to the stream, and the mean of the sizes of the estimates over the other layers, so that opposite paths cannot
    cancel (AtP*, section 3.2); the result has no sign, and a node's own layer, which gives nothing, is not counted.
    batch_size: prompts at a time (default: as memory_budget, in bytes, allows).

    Raises InputError, before anything runs, for a metric without gradients, nodes that the model lacks, corrections
    that do not apply, and prompts that do not match position by position unless by "role".
    """
    chosen = as_nodes(model, task, nodes, by, layers)
    _check(model, task, chosen, direction, method, steps, qk_fix, grad_drop)
    started = datetime.now(UTC)
    step = batch_size or _prompts_per_batch(model, task, memory_budget)
    parts = [task[i : i + step] for i in range(0, len(task), step)]
    estimates, clean, corrupt = [], [], []
    for part in progress(parts, f"attribution of {chosen.name}"):
        side = _Side(model, part, chosen, direction, qk_fix)
        estimates.append(_estimate(side, method, steps, grad_drop).cpu())
        clean.append(_score(model, part.clean, part.metric))
        corrupt.append(_score(model, part.corrupt, part.corrupt_metric))
    settings = {
        "over": chosen.name,
        "by": list(chosen.by),
        "direction": direction,
        "metric": task.metric.name,
        "method": method,
        "steps": None if method == "attribution" else steps,
        "qk_fix": qk_fix,
        "grad_drop": grad_drop,
        "signed": not grad_drop,
        "layers": list(chosen.layers),
    }
    source = provenance(model=identity(model), task=task.describe(), seed=task.seed, started=started)
    baselines = {"clean": torch.cat(clean), "corrupt": torch.cat(corrupt)}
    return _result(task, chosen, torch.cat(estimates, dim=1), baselines, settings, source)


def _check(
    model: Any,
    task: PromptPairs,
    nodes: NodeSet,
    direction: str,
    method: str,
    steps: int,
    qk_fix: bool,
    grad_drop: bool,
) -> None:
    if direction not in ("denoise", "noise"):
        raise InputError(
            f"direction is 'denoise' (clean into corrupt) or 'noise' (corrupt into clean), not {direction!r}"
        )
    if method not in METHODS:
        raise InputError(f"method is {', '.join(map(repr, METHODS))}, not {method!r}")
    if not task.metric.differentiable:
        raise InputError(f"{task.metric.name} has no gradient; use task.with_metric('logit_difference')")
    if steps < 1:
        raise InputError(f"steps is how many runs the integral is taken over, at least 1, not {steps}")
    if method != "attribution" and not task.aligned:
        raise InputError(
            "clean and corrupt prompts differ in length, so there is no path between them; use attribution"
        )
    if qk_fix and nodes.kind not in ("q", "k"):
        raise InputError(f"qk_fix corrects queries and keys; {nodes.name} do not pass through the softmax")
    if grad_drop and method != "attribution":
        raise InputError("grad_drop corrects the gradient at the run itself; use it with method='attribution'")
    if grad_drop and int(model.cfg.n_layers) < 2:
        raise InputError("grad_drop compares the paths around each layer; this model has only one")


class _Side:
    """One batch of prompts: the run that is changed, and how its gradients become estimates."""

    def __init__(self, model: Any, task: PromptPairs, nodes: NodeSet, direction: str, qk_fix: bool) -> None:
        self.model, self.nodes = model, nodes
        clean, corrupt = (task.clean, task.metric), (task.corrupt, task.corrupt_metric)
        (self.tokens, self.metric), (self.other, _) = (corrupt, clean) if direction == "denoise" else (clean, corrupt)
        n_pos = int(task.lengths[0])  # of all prompts, where positions are told apart
        sign = 1.0 if direction == "denoise" else -1.0
        self.contract: PatternChange | _Linear
        if qk_fix:
            self.contract = pattern_changes(model, nodes, self.tokens, self.other, n_pos, sign)
        else:
            self.contract = _Linear(model, nodes, self.tokens, self.other, n_pos, sign)
        self.sites = self.contract.sites

    def totals(
        self, pass_gradients: Callable[[Callable[[int, Tensor], None]], None]
    ) -> Float[Tensor, "layer batch place unit"]:
        """The sum of the estimates from all gradients that the given passes bring."""
        sums: dict[int, Tensor] = {}

        def receive(i: int, gradient: Tensor) -> None:
            # Sums in float32 whatever the model computes in.
            value = self.contract(i, gradient).float()
            sums[i] = sums[i] + value if i in sums else value

        pass_gradients(receive)
        shape = next(iter(sums.values()))
        return torch.stack([sums.get(i, torch.zeros_like(shape)) for i in range(len(self.sites))])


class _Linear:
    """Contracts gradients at the nodes with the difference of the two runs there."""

    def __init__(
        self, model: Any, nodes: NodeSet, tokens: PromptTokens, other: PromptTokens, n_pos: int, sign: float
    ) -> None:
        self.nodes, self.sites, self._n_pos = nodes, list(nodes.sites), n_pos
        self._at = tokens.positions
        own = capture(model, tokens.as_subclass(Tensor), self.sites)
        there = capture(model, other.as_subclass(Tensor), self.sites)
        self._difference = [
            sign * (by_place(there[site], nodes, other.positions, n_pos) - by_place(own[site], nodes, self._at, n_pos))
            for site in self.sites
        ]

    def __call__(self, i: int, gradient: Float[Tensor, "batch pos *rest"]) -> Float[Tensor, "batch place unit"]:
        """The estimate of every node of the i-th site."""
        product = self._difference[i] * by_place(gradient, self.nodes, self._at, self._n_pos)
        if self.nodes.unit == "head":
            product = product.sum(-1)
        if self.nodes.unit is None or self.nodes.unit not in self.nodes.by:
            product = product.sum(-1, keepdim=True)
        return product if self.nodes.place else product.sum(1, keepdim=True)


def _estimate(side: _Side, method: str, steps: int, grad_drop: bool) -> Float[Tensor, "layer batch place unit"]:
    model, tokens, other, metric, sites = side.model, side.tokens, side.other, side.metric, side.sites
    if grad_drop:
        sizes = [side.totals(one).abs() for one in with_layers_dropped(model, tokens, metric, sites)]
        return torch.stack(sizes).sum(0) / (len(sizes) - 1)
    if method == "ig":
        return side.totals(lambda receive: along_the_inputs(model, tokens, other, metric, sites, receive, steps))
    if method == "ig-activations":
        moved = side.nodes.sites
        return side.totals(
            lambda receive: along_the_activations(model, tokens, other, metric, moved, sites, receive, steps)
        )
    return side.totals(lambda receive: at_the_run(model, tokens, metric, sites, receive))


@torch.no_grad()
def _score(model: Any, tokens: Tensor, metric: Metric) -> Float[Tensor, " batch"]:
    return metric.score(run(model, tokens.as_subclass(Tensor), readout=metric.readout)).cpu()


def _prompts_per_batch(model: Any, task: PromptPairs, memory_budget: int) -> int:
    """How many prompts' graphs fit: per layer about 16 streams, 6 MLP widths and 6 attention patterns are alive."""
    cfg, width = model.cfg, task.clean.shape[1]
    numbers = 16 * int(cfg.d_model) + 6 * int(cfg.d_mlp or 0) + 6 * int(cfg.n_heads) * width
    bytes_per_prompt = 4 * int(cfg.n_layers) * numbers * width
    return max(1, min(len(task), memory_budget // bytes_per_prompt))


def _result(
    task: PromptPairs,
    nodes: NodeSet,
    estimates: Float[Tensor, "layer batch place unit"],
    baselines: dict[str, Tensor],
    settings: dict[str, Any],
    source: Provenance,
) -> NodeAttribution:
    places = {"layer": 0, "position": 2, "role": 2, nodes.unit: 3}
    ordered = estimates.permute(*(order := [places[name] for name in nodes.by]), *({0, 1, 2, 3} - {*order, 1}), 1)
    effects = ordered.reshape(*map(len, nodes.axes), len(task))
    made = outcome(task, nodes.axes, effects, baselines, settings, source)
    how = settings["method"] + (" with QK-fix" if settings["qk_fix"] else "")
    how += " with GradDrop (sizes without sign)" if settings["grad_drop"] else ""
    caption = (
        f"Estimated effect on the {task.metric.name} ({task.metric.unit}) of patching {nodes.name} "
        f"({settings['direction']}), by {how}; a full patch is worth {made.difference:.2f}."
    )
    caveat = "An estimate from gradients: saturated or curved parts of the model can make it wrong."
    plots = tuple(
        replace(plot, title=f"Attribution of {nodes.name}", caption=caption, caveat=caveat) for plot in made.plots
    )
    return NodeAttribution(values=made.values, settings=made.settings, provenance=made.provenance, plots=plots)
