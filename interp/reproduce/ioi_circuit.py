"""The IOI circuit as a whole: what it does alone, what the model does without it, what it lacks, what it could spare.

Wang et al. 2022, section 4, on the heads that the experiment found in this model. The prompts are new ones: neither the
heads were found on them, nor is the reference set drawn from them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from interp import tasks
from interp.circuits import (
    GroupMeans,
    HeadCircuit,
    HeadCompleteness,
    HeadFaithfulness,
    HeadKnockOuts,
    HeadMinimality,
    group_means,
    head_completeness,
    head_faithfulness,
    head_knock_outs,
    head_minimality,
)
from interp.circuits.head_level.knock_outs import NONE, WHOLE
from interp.errors import InputError
from interp.hooks.head_names import Head, head_name
from interp.reproduce.asking import with_interval
from interp.reproduce.experiment import Experiment
from interp.results import Values
from interp.tasks import PromptPairs
from interp.viz.theme import number

ROLE_POSITIONS: Mapping[str, tuple[str, ...]] = {
    "previous token": ("S1+1",),
    "duplicate token": ("S2",),
    "induction": ("S2",),
    "S-inhibition": ("end",),
    "name mover": ("end",),
    "backup name mover": ("end",),
    "negative name mover": ("end",),
}
"""Where the heads of each role do their work, and are kept: as in the paper's circuit."""


@dataclass(frozen=True)
class CircuitSettings:
    """What decides the numbers of these sections.

    n: new prompts for faithfulness. per_group: prompts of the reference set for each template and order. n_random:
    random circuits, run on n_random_prompts. n_cut: prompts for knock-outs from the model, and n_random_cut: draws of
    random heads there. n_measured: prompts for completeness and minimality. n_sets: random sets K; n_steps and
    n_candidates: of the greedy search for the worst K, on the prompts of the maps.
    """

    n: int = 120
    per_group: int = 25
    n_random: int = 20
    n_random_prompts: int = 60
    n_cut: int = 30
    n_random_cut: int = 5
    n_measured: int = 30
    n_sets: int = 10
    n_steps: int = 10
    n_candidates: int = 5

    @classmethod
    def quick(cls) -> CircuitSettings:
        """The same questions in a quarter of the time: fewer prompts and draws, a rougher reference."""
        return cls(
            n=30, per_group=5, n_random=5, n_random_prompts=30, n_cut=12, n_random_cut=2, n_measured=12, n_sets=4,
            n_steps=4, n_candidates=4,
        )  # fmt: skip

    @classmethod
    def of(cls, settings: Any) -> CircuitSettings:
        """As they are, or fitting the experiment's: the quick ones where it asks for fewer than 60 prompts."""
        if isinstance(settings, cls):
            return settings
        return replace(cls.quick() if settings.n < 60 else cls(), n=settings.n)


def circuit_sections(
    experiment: Experiment,
    model: Any,
    task: PromptPairs,
    maps_task: PromptPairs,
    roles: Mapping[str, tuple[Head, ...]],
    settings: Any,
) -> None:
    """Faithfulness, knock-outs, completeness and minimality of the found circuit, into the report.

    task: tells which templates, orders and BOS; its seed is the one not to use again. maps_task: prompts for searching,
    on which nothing is reported. roles: heads by role, keys of ROLE_POSITIONS; empty ones are said to be so. settings:
    `CircuitSettings`, or the experiment's own.
    """
    report = experiment.report
    circuit = HeadCircuit({role: tuple(roles.get(role, ())) for role in ROLE_POSITIONS}, ROLE_POSITIONS)
    if not len(circuit):
        report.section(
            "IOI: the circuit",
            "No head of this model met the rule of any role, so there is no circuit whose faithfulness, completeness "
            "or minimality could be measured.",
        )
        return
    try:
        prompts = _Prompts.draw(model, task, maps_task, CircuitSettings.of(settings))
        _describe(experiment, circuit, prompts)
        _faithfulness(experiment, circuit, prompts)
        _knock_outs(experiment, circuit, prompts)
        _completeness(experiment, circuit, prompts)
        _minimality(experiment, circuit, prompts)
    except InputError as error:
        report.section("IOI: the circuit cannot be measured", f"This model does not allow it: {error}.")


@dataclass(frozen=True, eq=False)
class _Prompts:
    """new: prompts that are measured. search: prompts that sets are chosen on. means: of the reference set, taken when
    the first step that an earlier session did not finish asks for them."""

    new: PromptPairs
    search: PromptPairs
    means: Callable[[], GroupMeans]
    settings: CircuitSettings

    @classmethod
    def draw(cls, model: Any, task: PromptPairs, search: PromptPairs, settings: CircuitSettings) -> _Prompts:
        seed = 0 if task.seed is None else task.seed
        how: dict[str, Any] = {name: task.settings[name] for name in ("order", "templates") if name in task.settings}
        how["prepend_bos"] = task.prepend_bos
        new = tasks.ioi(model, n=settings.n, seed=seed + 1, **how)

        @functools.cache
        def means() -> GroupMeans:
            # Only the groups that are run; pairs are spread evenly over templates and orders.
            used = sorted({int(group.rsplit("-", 1)[1]) for group in (*new.groups, *search.groups)})
            n_orders = len({group.rsplit("-", 1)[0] for group in new.groups})
            n = settings.per_group * len(used) * n_orders
            reference = tasks.ioi(model, n=n, seed=seed + 2, corruption="abc", **how | {"templates": used})
            source = {"task": "ioi", "side": "corrupt", "corruption": "abc", "seed": seed + 2}
            return group_means(model, reference.corrupt, source=source)

        return cls(new, search, means, settings)


def _describe(experiment: Experiment, circuit: HeadCircuit, prompts: _Prompts) -> None:
    circuit.save(experiment.run.path("ioi-head-circuit.json"))
    share = circuit.share(experiment.model, prompts.new)
    rows = [
        {"role": name, "heads": " ".join(map(head_name, circuit.heads[name])), "kept at": ", ".join(at)}
        for name, at in circuit.positions.items()
        if circuit.heads[name]
    ]
    empty = [name for name in circuit.heads if not circuit.heads[name]]
    missing = f" No head was found for: {', '.join(empty)}." if empty else ""
    experiment.report.section(
        "IOI: the circuit",
        f"The heads found above, each at the token where its role does its work, and all MLPs: {len(circuit)} heads, "
        f"{_percent(share, 2)} of all pairs of a head and a position (the paper's for GPT-2 small: 26 heads, 1.1 %)."
        f"{missing}\n\n"
        f"What follows is measured on {len(prompts.new)} new prompts of the same templates, drawn with another seed "
        "than those on which the heads were found. To knock out a head at a position is to replace its output by the "
        f"mean over {prompts.settings.per_group} prompts about three other people of the same template and order of "
        "names, at that position. F is the mean logit difference, M the model, C the circuit.",
    ).add(pd.DataFrame(rows), caption="The circuit: heads by role, and the position at which they are kept.")


def _faithfulness(experiment: Experiment, circuit: HeadCircuit, prompts: _Prompts) -> None:
    model, chosen = experiment.model, prompts.settings
    found: HeadFaithfulness = experiment.step(
        "circuit-faithfulness",
        lambda: head_faithfulness(
            model, prompts.new, circuit, prompts.means(), n_random=chosen.n_random,
            n_random_prompts=chosen.n_random_prompts,
        ),
    )  # fmt: skip
    values = found.sel(circuit="circuit").values
    ratio, distance = ((values[a], values[b], values[c]) for a, b, c in
                       (("faithfulness", "low", "high"), ("distance", "distance_low", "distance_high")))  # fmt: skip
    whole, alone, nothing = (
        with_interval(*(found.values[end].sel(run=run) for end in ("F", "F_low", "F_high")))
        for run in ("whole model", "circuit", "nothing kept")
    )
    controls = ""
    if "random" in values:
        draws = values["random"].data
        p = float(values["p_value"].sel(test="F at least as large").data)
        controls = (
            f" {len(draws)} random circuits of the same shape, with other heads of the same layers, have "
            f"{number(float(draws.mean()))} on average and {number(float(draws.max()))} at most, on "
            f"{found.settings['n_random_prompts']} of these prompts (p = {p:.3f}; {len(draws)} draws can give no less "
            f"than {1 / (1 + len(draws)):.3f})."
        )
    experiment.report.section(
        "IOI: faithfulness",
        "Everything outside of the circuit is knocked out, at every token. "
        f"The circuit alone has a logit difference of {alone} where the model has {whole}: "
        f"F(C) / F(M) is {_percent(ratio[0].data)} {_percents(ratio)}, and |F(M) - F(C)| is "
        f"{with_interval(*distance)} (the paper, for GPT-2 small: 87 %, and 0.46 of 3.56). With "
        f"no head kept at all {nothing} is left.{controls}",
    ).add(found)
    n = len(prompts.new)
    experiment.number("circuit alone: F(C) / F(M)", *ratio, n, "share")
    experiment.number("circuit alone: |F(M) - F(C)|", *distance, n)


def _knock_outs(experiment: Experiment, circuit: HeadCircuit, prompts: _Prompts) -> None:
    task, draws = prompts.new[: prompts.settings.n_cut], prompts.settings.n_random_cut
    found: HeadKnockOuts = experiment.step(
        "circuit-knock-outs",
        lambda: head_knock_outs(experiment.model, task, circuit, prompts.means(), n_random=draws),
    )
    of_found = found.sel(heads="found").values
    mean = {name: float(of_found["F"].sel(knocked_out=name).data) for name in (NONE, *circuit.classes)}
    told = {
        name: with_interval(*(of_found[end].sel(knocked_out=name) for end in ("F", "low", "high")))
        for name in (*mean, WHOLE)
    }
    least, most = (chosen(circuit.classes, key=lambda name: mean[name]) for chosen in (min, max))
    missed = "No single role is missed"
    if mean[least] < mean[NONE]:
        missed = f"Of the single roles the {least} heads are missed most: {told[least]} without them"
    raised = f"; without the {most} heads it rises to {told[most]}" if mean[most] > mean[NONE] else ""
    experiment.report.section(
        "IOI: the model without the circuit",
        "The other way round: the circuit's heads are knocked out of the model at their positions, and all else is "
        f"left alone ({len(task)} prompts). The logit difference goes from {told[NONE]} to {told[WHOLE]} without any "
        f"of them. {missed}{raised}. A role that is hardly missed is not idle: others may stand in for it (in GPT-2 "
        "small all name movers together cost 5 %).",
    ).add(found)
    one = found.sel(heads="found", knocked_out=WHOLE).values
    experiment.number("model without the circuit: F(M \\ C)", one["F"], one["low"], one["high"], len(task))


def _completeness(experiment: Experiment, circuit: HeadCircuit, prompts: _Prompts) -> None:
    chosen, task = prompts.settings, prompts.new[: prompts.settings.n_measured]
    found: HeadCompleteness = experiment.step(
        "circuit-completeness",
        lambda: head_completeness(
            experiment.model, task, circuit, prompts.means(), n_sets=chosen.n_sets, n_steps=chosen.n_steps,
            n_candidates=chosen.n_candidates, search=prompts.search,
        ),
    )  # fmt: skip
    scores = found.values["incompleteness"]
    sets: Any = found.settings["sets"]
    labels = list(scores.axis("knocked_out").labels)
    worst = labels[int(scores.data.argmax())]
    at = found.sel(knocked_out=worst).values
    whole = found.values["points"].sel(knocked_out="nothing", side="F(M \\ K)").data
    heads = " ".join(sets[worst]["heads"]) or "none"
    random = [float(scores.sel(knocked_out=name).data) for name in labels if sets[name]["family"] == "random"]
    usual = f" Over {len(random)} random sets it is {sum(random) / len(random):.2f} on average." if random else ""
    experiment.report.section(
        "IOI: completeness",
        "A complete circuit does what the model does even when parts of both are knocked out: for every set K of its "
        "heads F(C \\ K) is near F(M \\ K). Tried are nothing, every role, random sets, and the worst set that a "
        f"greedy search met on {len(prompts.search)} other prompts, {chosen.n_candidates} candidates a step. "
        f"The largest |F(C \\ K) - F(M \\ K)| on {len(task)} prompts is "
        f"{with_interval(at['incompleteness'], at['low'], at['high'])}, "
        f"{_percent(at['incompleteness'].data / whole)} of F(M), for K = {heads} ({worst}).{usual} The paper's search "
        "reached 3.09, 87 % of F(M), for GPT-2 small.",
    ).add(found)
    experiment.number("incompleteness of the worst set", at["incompleteness"], at["low"], at["high"], len(task))


def _minimality(experiment: Experiment, circuit: HeadCircuit, prompts: _Prompts) -> None:
    task = prompts.new[: prompts.settings.n_measured]
    found: HeadMinimality = experiment.step(
        "circuit-minimality",
        lambda: head_minimality(experiment.model, task, circuit, prompts.means(), search=prompts.search),
    )
    below, total = found.below(), len(circuit)
    spare = (
        f"Below 1 % of F(M), and so not shown to be needed: {', '.join(below)}."
        if below
        else "Every head is worth at least 1 % of F(M) in its place, the least that the paper reports of its 26."
    )
    sets: Any = found.settings["sets"]
    rows = []
    for name in found.values["minimality"].axis("head").labels:
        at = found.sel(head=name).values
        rows.append(
            {
                "head": name,
                "role": circuit.class_of(tuple(map(int, str(name).split(".")))),
                "change": f"{_percent(at['change'].data, 1)} {_percents((at['change'], at['low'], at['high']), 1)}",
                "with nothing else gone": _percent(at["alone"].data, 1),
                "K": " ".join(sets[name]["heads"]) or "nothing",
                "chosen by": sets[name]["rule"],
            }
        )
    experiment.report.section(
        "IOI: minimality",
        "Does the circuit need each of its heads? For a head v a set K of other heads is knocked out of the circuit, "
        "then v as well: K is nothing or the rest of v's role, whichever shows v more, and where both leave v below "
        f"1 % of F(M) up to three heads are added greedily. K is chosen on {len(prompts.search)} other prompts. "
        f"{total - len(below)} of {total} heads reach 1 %. {spare}",
    ).add(found).add(
        pd.DataFrame(rows),
        caption="Every head of the circuit: change of F when it is knocked out beside its K, as a share of F(M) with "
        f"its 95 % interval over {len(task)} prompts; the same with nothing else knocked out; and K.",
    )


def _percent(share: Any, digits: int = 0) -> str:
    if math.isnan(share):
        return "undefined (F(M) is near zero)"
    return f"{100 * float(share):.{digits}f} %".replace("-", "\N{MINUS SIGN}")


def _percents(three: tuple[Values, Values, Values], digits: int = 0) -> str:
    """[low, high] in percent."""
    ends = ", ".join(f"{100 * float(end.data):.{digits}f}" for end in three[1:])
    return f"[{ends}]".replace("-", "\N{MINUS SIGN}")
