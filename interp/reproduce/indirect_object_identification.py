"""Indirect object identification (Wang et al. 2022, "Interpretability in the Wild").

"When Mary and John went to the store, John gave a drink to" continues with Mary, the name that did not come twice. The
experiment asks how well the model does this, where in it the answer appears, which heads write it, and where the
information about the names has to be restored in a prompt with other names to bring the answer back; then it follows
the paths backwards from the logits to the heads that decide what the writers look at, gives every head its role, and
asks how far the heads with a role explain the behaviour.
"""

from __future__ import annotations

from typing import Any

from interp import lens, tasks
from interp.errors import InputError
from interp.reproduce import ioi_components
from interp.reproduce.experiment import Experiment
from interp.reproduce.ioi_circuit import circuit_sections
from interp.reproduce.ioi_discovery import find_heads
from interp.reproduce.ioi_settings import IoiSettings
from interp.results import mean_with_interval
from interp.runs import Run
from interp.tasks import PromptPairs
from interp.viz import Report

__all__ = ["TITLE", "IoiSettings", "run_ioi"]

TITLE = "Indirect object identification"


def run_ioi(model: Any, settings: IoiSettings, run: Run, report: Report) -> Experiment:
    """The whole experiment, into the report: behaviour, lens, attribution, maps, paths, the heads by role,
    and the circuit that they form.

    Returns the experiment with its headline numbers: logit difference (logits), accuracy, the heads that matter, those
    of every role, and how well they do alone. A model that cannot be given the prompts (no tokenizer, names of several
    tokens) gets a report that says so.
    """
    experiment = Experiment(model, run, report, "ioi")
    options: dict[str, Any] = {"seed": settings.seed, "prepend_bos": settings.prepend_bos}
    n_paths = max(settings.n_logits, settings.n_queries, settings.n_values, settings.n_keys)
    try:
        task = tasks.ioi(model, n=settings.n, **options)
        paths = tasks.ioi(model, n=n_paths, **options)
        maps = tasks.ioi(model, n=settings.n_maps, corruption=settings.corruption, **options)
    except InputError as error:
        report.section("IOI: not asked", f"This model cannot be given the prompts of this experiment: {error}.")
        return experiment
    _behaviour(experiment, task)
    _lens(experiment, task)
    by_head = ioi_components.attribution(experiment, task, settings.n_logits)
    ioi_components.maps(experiment, maps)
    found = find_heads(experiment, task, paths, by_head, settings)
    circuit_sections(experiment, model, task, maps, found.roles, settings)
    return experiment


def _behaviour(experiment: Experiment, task: PromptPairs) -> None:
    found = experiment.step("behaviour", lambda: tasks.behaviour(experiment.model, task))
    notes = " ".join(f"{note}." for note in task.notes)
    experiment.report.section(
        "IOI: behaviour",
        f"{len(task)} pairs over the paper's 15 templates in both orders of the names (ABBA and BABA). The logit "
        "difference is the logit of the indirect object less that of the subject, right after the prompt; accuracy "
        "is the share of prompts where it is positive. The corrupt prompts name three other people. " + notes,
    ).add(found)
    for measure, name, unit in (("logit_difference", "logit difference", "logits"), ("accuracy", "accuracy", "share")):
        at = found.sel(measure=measure, side="clean").values
        experiment.number(name, at["mean"], at["low"], at["high"], len(task), unit)
    for order in ("ABBA", "BABA"):
        rows = [i for i, group in enumerate(task.groups) if group.startswith(order)]
        if rows:
            values = found.per_example.sel(measure="logit_difference", side="clean", example=rows)
            mean = mean_with_interval(values)
            experiment.number(
                f"logit difference, {order}", mean["mean"], mean["low"], mean["high"], len(rows), "logits"
            )


def _lens(experiment: Experiment, task: PromptPairs) -> None:
    found = experiment.step("lens", lambda: lens.logit_lens(experiment.model, task))
    experiment.report.section(
        "IOI: where the answer appears",
        "The residual stream entering every layer (the last entry is the output), read through the model's own final "
        "norm and unembedding. A jump between two entries says that the layer between them writes the answer; before "
        "it the names are hardly predicted at all, and which of them leads says little.",
    ).add(found)
