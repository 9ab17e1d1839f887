"""Gradients of the metric at nodes, one site at a time as the backward pass reaches it.

Nothing larger than a site's gradient is kept: it is contracted as soon as it is known. What bounds memory is the graph
of one batch of prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.hooks.capturing import Activations, AnySite, capture
from interp.hooks.intervening import intervene
from interp.hooks.interventions import patch
from interp.hooks.sites import attn_out, mlp_out, reached_hooks, resid_pre
from interp.tasks.metric import Metric

Receive = Callable[[int, Tensor], None]


def graph(model: Any, tokens: Tensor, sites: Sequence[AnySite], metric: Metric) -> Activations:
    """A run whose activations at the sites carry gradients of its logits."""
    # The first stream is there so that every site lies behind a leaf; parameters ask for no gradients.
    anchored = list(dict.fromkeys([resid_pre(0), *sites]))
    return capture(model, tokens.as_subclass(Tensor), anchored, readout=metric.readout, gradients=True)


def backward(
    run: Activations,
    metric: Metric,
    sites: Sequence[AnySite],
    receive: Receive,
    *,
    dropped: Sequence[AnySite] = (),
    again: bool = False,
) -> None:
    """One backward pass: `receive(i, gradient)` for every site that the metric depends on, the last one first.

    dropped: sites through which no gradient passes, itself included. again: whether the graph is needed after this.
    """
    assert run.logits is not None
    handles = [run[site].register_hook(torch.zeros_like) for site in dropped]

    def receiver(i: int) -> Callable[[Tensor], None]:
        return lambda gradient: receive(i, gradient.detach())

    handles += [run[site].register_hook(receiver(i)) for i, site in enumerate(sites)]
    # Everything lies behind the first site or is a leaf of its own (latents); weights that want gradients get none.
    values = list(run.values())
    ends = [values[0], *(value for value in values[1:] if value.is_leaf)]
    try:
        with torch.enable_grad():
            total = metric.score(run.logits).sum()
        torch.autograd.grad(total, ends, retain_graph=again, allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()


def at_the_run(model: Any, tokens: Tensor, metric: Metric, sites: Sequence[AnySite], receive: Receive) -> None:
    """The gradients of the run itself (attribution patching)."""
    backward(graph(model, tokens, sites, metric), metric, sites, receive)


def along_the_inputs(
    model: Any, tokens: Tensor, other: Tensor, metric: Metric, sites: Sequence[AnySite], receive: Receive, steps: int
) -> None:
    """Gradients averaged over runs whose embeddings go from one prompt's to the other's (midpoint rule)."""
    own, there = (capture(model, ids.as_subclass(Tensor), resid_pre(0))[resid_pre(0)] for ids in (tokens, other))
    for stream in _midpoints(own, there, steps):
        with intervene(model, patch(resid_pre(0), stream)):
            run = graph(model, tokens, sites, metric)
        backward(run, metric, sites, _share(receive, steps))


def along_the_activations(
    model: Any,
    tokens: Tensor,
    other: Tensor,
    metric: Metric,
    moved: Sequence[AnySite],
    sites: Sequence[AnySite],
    receive: Receive,
    steps: int,
) -> None:
    """Gradients averaged over runs in which all nodes of one layer go from one run's values to the other's.

    moved: where the values are put, and sites: where the gradient is read, one a layer.
    """
    own = capture(model, tokens.as_subclass(Tensor), moved)
    there = capture(model, other.as_subclass(Tensor), moved)
    for i, (site, read) in enumerate(zip(moved, sites)):
        for values in _midpoints(own[site], there[site], steps):
            with intervene(model, patch(site, values)):
                plain = tokens.as_subclass(Tensor)
                run = capture(model, plain, [read], readout=metric.readout, gradients=True)
            backward(run, metric, [read], lambda _, gradient, i=i: receive(i, gradient / steps))  # type: ignore[misc]


def with_layers_dropped(
    model: Any, tokens: Tensor, metric: Metric, sites: Sequence[AnySite]
) -> Iterator[Callable[[Receive], None]]:
    """For every layer, a backward pass that skips what its attention and MLP add to the stream (GradDrop)."""
    reached = reached_hooks(model)
    layers = range(int(model.cfg.n_layers))
    added = [[site for site in (attn_out(i), mlp_out(i)) if site.hook in reached] for i in layers]
    run = graph(model, tokens, [*sites, *(site for pair in added for site in pair)], metric)
    for layer in layers:
        last = layer == layers[-1]
        yield lambda receive, layer=layer, last=last: backward(  # type: ignore[misc]
            run, metric, sites, receive, dropped=added[layer], again=not last
        )


def _midpoints(start: Tensor, end: Tensor, steps: int) -> Iterator[Float[Tensor, "..."]]:
    for step in range(steps):
        yield torch.lerp(start, end, (step + 0.5) / steps)


def _share(receive: Receive, steps: int) -> Receive:
    return lambda i, gradient: receive(i, gradient / steps)
