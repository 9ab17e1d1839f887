"""The IOI circuit as a whole: what it does alone, what the model does without it, what it lacks, what it could spare.

Wang et al. 2022, section 4, on the heads that the experiment found in this model. The prompts are new ones: neither the
heads were found on them, nor is the reference set drawn from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from interp.circuits import HeadCircuit, HeadCompleteness, HeadFaithfulness, HeadKnockOuts, HeadMinimality
from interp.errors import InputError
from interp.hooks.head_names import Head, head_name
from interp.reproduce import ioi_circuit_judged as judged
from interp.reproduce.asking import joined, several
from interp.reproduce.experiment import Experiment
from interp.reproduce.ioi_circuit_settings import CircuitPrompts, CircuitSettings
from interp.reproduce.ioi_roles import NEGATIVE, POSITIVE, called
from interp.reproduce.ioi_words import percent
from interp.tasks import PromptPairs

ROLE_POSITIONS: Mapping[str, tuple[str, ...]] = {
    "previous token": ("S1+1",),
    "duplicate token": ("S2",),
    "induction": ("S2",),
    "S-inhibition": ("end",),
    POSITIVE: ("end",),
    "backup name mover": ("end",),
    NEGATIVE: ("end",),
}
"""Where the heads of each role do their work, and are kept: as in the paper's circuit."""


@dataclass(frozen=True, eq=False)
class JudgedCircuit:
    """The circuit of the heads found, its share of all pairs of a head and a position, and what was measured of it."""

    circuit: HeadCircuit
    share: float
    faithfulness: HeadFaithfulness
    knock_outs: HeadKnockOuts
    completeness: HeadCompleteness
    minimality: HeadMinimality


def circuit_sections(
    experiment: Experiment,
    model: Any,
    task: PromptPairs,
    maps_task: PromptPairs,
    roles: Mapping[str, tuple[Head, ...]],
    settings: Any,
) -> JudgedCircuit | None:
    """Faithfulness, knock-outs, completeness and minimality of the found circuit, into the report.

    task: tells which templates, orders and BOS; its seed is the one not to use again. maps_task: prompts for searching,
    on which nothing is reported. roles: heads by role, keys of ROLE_POSITIONS; empty ones are said to be so. settings:
    `CircuitSettings`, or the experiment's own. None where there is no circuit, or it cannot be measured; the report and
    the experiment's list of what was skipped then say why.
    """
    report = experiment.report
    circuit = HeadCircuit({role: tuple(roles.get(role, ())) for role in ROLE_POSITIONS}, ROLE_POSITIONS)
    if not len(circuit):
        why = (
            "No head of this model met the rule of any role, so there is no circuit whose faithfulness, completeness "
            "or minimality could be measured."
        )
        report.section("IOI: the circuit", why)
        experiment.skip(f"IOI, the circuit: {why}")
        return None
    try:
        prompts = CircuitPrompts.draw(model, task, maps_task, CircuitSettings.of(settings))
        return JudgedCircuit(
            circuit,
            _describe(experiment, circuit, prompts),
            judged.faithfulness(experiment, circuit, prompts),
            judged.knock_outs(experiment, circuit, prompts),
            judged.completeness(experiment, circuit, prompts),
            judged.minimality(experiment, circuit, prompts),
        )
    except InputError as error:
        report.section("IOI: the circuit cannot be measured", f"This model does not allow it: {error}.")
        experiment.skip(f"IOI, the circuit: this model does not allow it: {error}.")
        return None


def _describe(experiment: Experiment, circuit: HeadCircuit, prompts: CircuitPrompts) -> float:
    circuit.save(experiment.run.path("ioi-head-circuit.json"))
    share = circuit.share(experiment.model, prompts.new)
    rows = [
        {"class": name, "heads": ", ".join(map(head_name, circuit.heads[name])), "kept at": ", ".join(at)}
        for name, at in circuit.positions.items()
        if circuit.heads[name]
    ]
    empty = [called(name) for name in circuit.heads if not circuit.heads[name]]
    missing = f" No head was found for: {', '.join(empty)}." if empty else ""
    size = f"{several(len(circuit), 'head')}, {percent(share, 2)} of all pairs of a head and a position"
    experiment.report.section(
        "IOI: the circuit",
        f"The circuit is made of the heads found above, each at the token where it does its work, and of all MLPs: "
        f"{size} (the paper's for GPT-2 small: 26 heads, 1.1 %).{missing}\n\n"
        f"What follows is measured on {len(prompts.new)} new prompts of the same templates, drawn with another seed "
        "than those on which the heads were found. To knock out a head at a position is to replace its output by the "
        f"mean over {prompts.settings.per_group} prompts about three other people of the same template and order of "
        "names, at that position. MLPs, norms and embeddings are never replaced. F is the mean logit difference, M the "
        "model, C the circuit.",
    ).add(
        pd.DataFrame(rows),
        caption=f"The circuit has {several(len(rows), 'class').replace('classs', 'classes')} and keeps "
        f"{size}. Heads by class, the largest effect first, and the position at which they are kept.",
        caveat=_shared(circuit),
    )
    return share


def _shared(circuit: HeadCircuit) -> str:
    """Which heads stand in more than one class."""
    classes = {head: [name for name in circuit.classes if head in circuit.heads[name]] for head in circuit.all_heads}
    several_of = [f"{head_name(head)} ({joined(names)})" for head, names in classes.items() if len(names) > 1]
    return f"In more than one class: {', '.join(several_of)}." if several_of else ""
