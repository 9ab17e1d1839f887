"""Estimate what patching every node would do, from gradients (attribution patching), and check the estimate.

A node is a head, an MLP, a neuron, or a place of the residual stream. Two runs and one backward pass serve all nodes,
where `interp patch` needs a run for each; saturated attention and other curvature can make an estimate wrong, which
--exact shows.

Try:
    interp nodes                             heads
    interp nodes --exact                     and what the estimate misses
    interp nodes --nodes q --qk-fix --exact  the softmax done exactly
    interp nodes --nodes neurons --top 20
    interp nodes --nodes mlps --by layer role --method ig --steps 10
    interp nodes --model toy/induction --task toy --exact
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from rich.console import Console

from interp import patching
from interp.cli.answering import Answer, Several, answering, named_heads
from interp.cli.tasking import MetricOptions, choose_task
from interp.errors import InputError
from interp.patching import EstimateCheck, NodeAttribution
from interp.tasks import PromptPairs

SWEPT = {"heads": "z", "mlps": "mlp_out"} | {
    kind: kind for kind in ("q", "k", "v", "attn_out", "resid_pre", "resid_mid")
}
"""Nodes whose effects `patching.sweep` measures, and what it calls them."""


@dataclass(frozen=True)
class Config(MetricOptions):
    """Options of `interp nodes`."""

    nodes: str = "heads"
    """heads, mlps, neurons, q, k, v, attn_out, resid_pre, resid_mid or resid_post."""
    by: Several[str] = ()
    """layer, with any of head or neuron, and position or role (default: layer, and head or neuron)."""
    direction: Literal["denoise", "noise"] = "denoise"
    """What is estimated: clean activations put into corrupt prompts, or the other way."""
    method: Literal["attribution", "ig", "ig-activations"] = "attribution"
    """Where gradients are taken:
    attribution: at the run itself;
    ig: averaged over runs on the way from one prompt's embeddings to the other's;
    ig-activations: averaged on the way from one run's activations to the other's."""
    steps: int = 5
    """Points on that way."""
    qk_fix: bool = False
    """For q and k: compute the softmax exactly (AtP*)."""
    grad_drop: bool = False
    """Leave out the paths through each layer in turn, so that effects that cancel are seen; sizes only (AtP*)."""
    exact: bool = False
    """Also measure every effect, one run a node, and print what the estimate misses (and the plain one)."""
    top: int = 10
    """Rows of the printed table."""


def main(config: Config, console: Console | None = None) -> int:
    """Estimate, compare where asked, print both in short, keep everything in a run."""
    if config.exact and config.nodes not in SWEPT:
        raise InputError(f"exact effects are measured of {', '.join(SWEPT)}, not of {config.nodes}; leave --exact out")
    with answering("nodes", config, title=f"Attribution of {config.nodes} on {config.task}", console=console) as a:
        task = choose_task(a, config)
        corrections = {"qk_fix": config.qk_fix, "grad_drop": config.grad_drop}
        found = a.step("estimate", lambda: _estimate(a, task, config, **corrections))
        size = f"{len(task)} pairs, m(clean) - m(corrupt) = {found.difference:.2f} {task.metric.unit}"
        a.show(named_heads(found.top(config.top)), f"largest estimated effects ({config.direction}; {size})")
        if config.exact:
            _check(a, task, config, found)
    return 0


def _estimate(answer: Answer, task: PromptPairs, config: Config, **corrections: Any) -> NodeAttribution:
    return patching.node_attribution(
        answer.model,
        task,
        config.nodes,
        config.by or None,
        config.direction,
        method=config.method,
        steps=config.steps,
        **corrections,
    )


def _check(answer: Answer, task: PromptPairs, config: Config, found: NodeAttribution) -> None:
    estimates = {"corrected" if config.qk_fix or config.grad_drop else config.method: found}
    if config.qk_fix or config.grad_drop:
        estimates[config.method] = answer.step("plain", lambda: _estimate(answer, task, config))
    by = found.settings["by"]
    exact = answer.step("exact", lambda: patching.sweep(answer.model, task, SWEPT[config.nodes], by, config.direction))
    answer.show(named_heads(exact.top(config.top)), "largest measured effects")
    check = answer.step("check", lambda: patching.compare_with_exact(estimates, exact))
    answer.show(_misses(check), f"estimates against {check.settings['n_nodes']} measured effects")
    least = f"{check.settings['fraction']:.0%} of the measured size"
    answer.say(f"missed of k: not among the estimate's own first k, or estimated below {least}")


def _misses(check: EstimateCheck) -> pd.DataFrame:
    """One row for each estimate: rank correlation, error, and the share missed of the k largest effects, which are
    ranked too low or estimated at next to nothing."""
    missed, names = check.values["missed"], check.values["spearman"].axis("estimate").labels
    rows: dict[str, Any] = {
        "estimate": list(names),
        "rank correlation": check.values["spearman"].data.tolist(),
        "error": check.values["error"].data.tolist(),
    }
    for column, k in enumerate(missed.axis("k").labels):
        rows[f"missed of {k}"] = missed.data[:, column].tolist()
    return pd.DataFrame(rows)
