"""Indirect object identification (Wang et al. 2022, "Interpretability in the Wild").

"When Mary and John went to the store, John gave a drink to" continues with Mary, the name that did not come twice. The
experiment asks how well the model does this, where in it the answer appears, which heads write it, and where the
information about the names has to be restored in a prompt with other names to bring the answer back; then it follows
the paths backwards from the logits to the heads that decide what the writers look at, gives every head its role, and
asks how far the heads with a role explain the behaviour, and which edges among all of the model's do.
"""

from __future__ import annotations

from typing import Any

from interp import tasks
from interp.errors import InputError
from interp.reproduce import ioi_behaviour, ioi_components, ioi_maps
from interp.reproduce.experiment import Experiment
from interp.reproduce.ioi_circuit import circuit_sections
from interp.reproduce.ioi_discovery import find_heads
from interp.reproduce.ioi_edges import EdgeSettings, edge_section
from interp.reproduce.ioi_settings import IoiSettings
from interp.reproduce.ioi_summary import summary
from interp.runs import Run
from interp.viz import Report

__all__ = ["TITLE", "IoiSettings", "run_ioi"]

TITLE = "Indirect object identification"


def run_ioi(model: Any, settings: IoiSettings, run: Run, report: Report) -> Experiment:
    """The whole experiment, into the report: behaviour, lens, attribution, maps, paths, the heads by role,
    the circuit that they form, the circuit of edges, and, at the top, what came of it in words.

    Returns the experiment with its headline numbers: logit difference (logits), accuracy, the heads that matter, those
    of every role, and how well they do alone. A model that cannot be given the prompts (no tokenizer, names of several
    tokens) gets a report that says so, and an experiment that has skipped all.
    """
    experiment = Experiment(model, run, report, "ioi")
    options: dict[str, Any] = {"seed": settings.seed, "prepend_bos": settings.prepend_bos}
    n_paths = max(settings.n_logits, settings.n_queries, settings.n_values, settings.n_keys)
    try:
        task = tasks.ioi(model, n=settings.n, **options)
        paths = tasks.ioi(model, n=n_paths, **options)
        maps = tasks.ioi(model, n=settings.n_maps, corruption=settings.corruption, **options)
    except InputError as error:
        why = f"This model cannot be given the prompts of this experiment: {error}."
        report.section("IOI: not asked", why)
        experiment.skip(f"IOI: {why}")
        return experiment
    behaviour = ioi_behaviour.behaviour(experiment, task)
    ioi_behaviour.lens_section(experiment, task)
    by_head = ioi_components.attribution(experiment, task, settings.n_logits)
    ioi_maps.maps(experiment, maps)
    found = find_heads(experiment, task, paths, by_head, settings)
    circuit = circuit_sections(experiment, model, task, maps, found.roles.roles, settings)
    edges = edge_section(experiment, task, found.roles.roles, EdgeSettings.of(settings)) if settings.edges else None
    report.abstract(summary(behaviour, found, circuit, edges))
    return experiment
