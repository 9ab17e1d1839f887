"""The four questions that are asked of the found circuit, and the sentences made of their numbers."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch

from interp.circuits import (
    HeadCircuit,
    HeadCompleteness,
    HeadFaithfulness,
    HeadKnockOuts,
    HeadMinimality,
    head_completeness,
    head_faithfulness,
    head_knock_outs,
    head_minimality,
)
from interp.circuits.head_level.ablation import CAVEAT
from interp.circuits.head_level.knock_outs import NONE, WHOLE
from interp.reproduce.asking import several
from interp.reproduce.experiment import Experiment
from interp.reproduce.ioi_circuit_settings import CircuitPrompts
from interp.reproduce.ioi_evidence import in_words
from interp.reproduce.ioi_roles import called
from interp.reproduce.ioi_words import few, percent, percent_with, show, told
from interp.results import bootstrap_interval

F = ("F", "F_low", "F_high")
SHARE = ("faithfulness", "low", "high")
DISTANCE = ("distance", "distance_low", "distance_high")
CHOSEN = {"nothing": "worth most alone", "greedy": "search"}
"""How K was chosen, where the rule's own name does not say it."""
CHANGE, ALONE = ("change", "low", "high"), ("alone", "alone_low", "alone_high")


def faithfulness(experiment: Experiment, circuit: HeadCircuit, prompts: CircuitPrompts) -> HeadFaithfulness:
    """What the circuit does alone, beside nothing and random circuits."""
    chosen, n = prompts.settings, len(prompts.new)
    found: HeadFaithfulness = experiment.step(
        "circuit-faithfulness",
        lambda: head_faithfulness(
            experiment.model, prompts.new, circuit, prompts.means(), n_random=chosen.n_random,
            n_random_prompts=chosen.n_random_prompts,
        ),
    )  # fmt: skip
    experiment.report.section(
        "IOI: faithfulness",
        f"{faithful_words(found)} With no head kept at all {told(found.values, F, run='nothing kept')} is left. In the "
        f"paper, for GPT-2 small, the circuit keeps 87 %, and |F(M) - F(C)| is 0.46 of 3.56.\n\n{random_words(found)}"
        "Everything outside of the circuit is knocked out, at every token.",
    )
    share = percent_with(found.values, SHARE, circuit="circuit")
    show(experiment.report, found, [f"Alone the circuit keeps {share} of F(M). {_bars(found)}"], n, caveat=CAVEAT)
    values = found.sel(circuit="circuit").values
    for name, (middle, low, high), unit in (
        ("circuit alone: F(C) / F(M)", SHARE, "share"),
        ("circuit alone: |F(M) - F(C)|", DISTANCE, ""),
    ):
        experiment.number(name, values[middle], values[low], values[high], n, unit)
    return found


def faithful_words(found: HeadFaithfulness) -> str:
    """How much of the model's logit difference the circuit keeps."""
    whole, alone = (told(found.values, F, run=run) for run in ("whole model", "circuit"))
    n = len(found.values["per_prompt"].axis("example"))
    share = percent_with(found.values, SHARE, circuit="circuit")
    distance = told(found.values, DISTANCE, circuit="circuit")
    return (
        f"Alone the circuit has a logit difference of {alone} where the model has {whole} (n = {n}): F(C) / F(M) is "
        f"{share}, and |F(M) - F(C)| is {distance}."
    )


def random_words(found: HeadFaithfulness) -> str:
    """What random circuits do, beside the circuit and beside no head at all on the same prompts; empty without any."""
    if "random" not in found.values:
        return ""
    draws = found.values["random"].sel(circuit="circuit").data
    n = int(found.settings["n_random_prompts"])
    alone, nothing = (_on_first(found, run, n) for run in ("circuit", "nothing kept"))
    p, as_well = float(found.values["p_value"].data[0, 0]), int((draws >= alone[0]).sum())
    words = (
        f"{several(len(draws), 'random circuit')} of the same shape, with other heads of the same layers at the same "
        f"positions, have {in_words(float(draws.mean()), *_NO_ENDS, False)} on average, from "
        f"{in_words(float(draws.min()), *_NO_ENDS, False)} to {in_words(float(draws.max()), *_NO_ENDS, False)}, on the "
        f"first {n} of these prompts, where the circuit has {in_words(*alone, False)} and nothing kept leaves "
        f"{in_words(*nothing, False)}. {as_well} of {len(draws)} do as well as the circuit (p = {p:.3f}; {len(draws)} "
        f"draws can give no less than {1 / (1 + len(draws)):.3f})."
    )
    below = int((draws < nothing[0]).sum())
    if below > len(draws) / 2:
        words += (
            f" {below} of {len(draws)} do worse than no heads at all, so that random circuits are no neutral "
            "baseline here: heads that are kept without the heads that steer them can work against the answer, for "
            "example by writing the subject, which stands in the prompt twice. Which of the kept heads do it, and why, "
            "is not measured in this run. How far the circuit is above nothing kept says more than that it beats them."
        )
    return words + "\n\n"


_NO_ENDS = (float("nan"), float("nan"))


def _on_first(found: HeadFaithfulness, run: str, n: int) -> tuple[float, float, float]:
    """Mean and interval of a run over the first n prompts."""
    each = found.values["per_prompt"].sel(run=run).data[:n]
    low, high = bootstrap_interval(each, 0)
    return float(each.mean()), float(low), float(high)


def _bars(found: HeadFaithfulness) -> str:
    """How many prompts and draws are behind every bar."""
    n = len(found.values["per_prompt"].axis("example"))
    bars = f"Whole model, circuit and nothing kept: n = {n} prompts, with 95 % intervals"
    if "random" not in found.values:
        return f"{bars}."
    draws = len(found.values["random"].axis("draw"))
    return (
        f"{bars}. Random circuits: {draws} draws, each a mean over the first {found.settings['n_random_prompts']} "
        "prompts, with the range of 95 % of the draws."
    )


def knock_outs(experiment: Experiment, circuit: HeadCircuit, prompts: CircuitPrompts) -> HeadKnockOuts:
    """What the model does without a class of the circuit's heads, and without all."""
    task, draws = prompts.new[: prompts.settings.n_cut], prompts.settings.n_random_cut
    found: HeadKnockOuts = experiment.step(
        "circuit-knock-outs",
        lambda: head_knock_outs(experiment.model, task, circuit, prompts.means(), n_random=draws),
    )
    words = cut_words(found)
    experiment.report.section(
        "IOI: the model without the circuit",
        f"{words} A class that is hardly missed is not idle: others may stand in for it (in GPT-2 small all name "
        "movers together cost 5 %).\n\nThe other way round than before: the circuit's heads are knocked out of the "
        "model at their positions, and all else is left alone.",
    )
    n_draws = len(found.values["draws"].axis("draw")) if "draws" in found.values else 0
    controls = (
        f" Random: {several(n_draws, 'draw')} of other heads of the same layers over the same prompts, with the "
        "range of 95 % of them where there are 5 or more." if n_draws else ""
    )  # fmt: skip
    show(experiment.report, found, [f"{missed_words(found)} Found heads: 95 % intervals over "
                                    f"prompts.{controls}"], len(task),
         caveat="What is left may be the work of heads that take over when others fall silent.")  # fmt: skip
    one = found.sel(heads="found", knocked_out=WHOLE).values
    experiment.number("model without the circuit: F(M \\ C)", one["F"], one["low"], one["high"], len(task))
    return found


def cut_words(found: HeadKnockOuts) -> str:
    """What becomes of the logit difference without the circuit, and which class is missed most."""
    of_found, ends = found.sel(heads="found").values, ("F", "low", "high")
    whole, without = (told(of_found, ends, knocked_out=name) for name in (NONE, WHOLE))
    n = len(found.values["per_prompt"].axis("example"))
    return (
        f"Without any of the circuit's heads the logit difference goes from {whole} to {without} (n = {n}). "
        f"{missed_words(found)}"
    )


def missed_words(found: HeadKnockOuts) -> str:
    """Which class is missed most, and without which one the logit difference rises most."""
    of_found = found.sel(heads="found").values
    labels = [str(label) for label in of_found["F"].axis("knocked_out").labels]
    mean = {name: float(of_found["F"].sel(knocked_out=name).data) for name in labels}
    words = {name: told(of_found, ("F", "low", "high"), knocked_out=name) for name in labels}
    classes = [label for label in labels if label not in (NONE, WHOLE)]
    least, most = (extreme(classes, key=mean.__getitem__) for extreme in (min, max))
    missed = "No single class is missed"
    if mean[least] < mean[NONE]:
        missed = f"Of the single classes the {called(least)} are missed most: {words[least]} is left without them"
    raised = f"; without the {called(most)} it rises to {words[most]}" if mean[most] > mean[NONE] else ""
    return f"{missed}{raised}."


def completeness(experiment: Experiment, circuit: HeadCircuit, prompts: CircuitPrompts) -> HeadCompleteness:
    """Whether the circuit lacks what the model falls back on."""
    chosen, task = prompts.settings, prompts.new[: prompts.settings.n_measured]
    found: HeadCompleteness = experiment.step(
        "circuit-completeness",
        lambda: head_completeness(
            experiment.model, task, circuit, prompts.means(), n_sets=chosen.n_sets, n_steps=chosen.n_steps,
            n_candidates=chosen.n_candidates, search=prompts.search,
        ),
    )  # fmt: skip
    words, usual = complete_words(found), _usual(found)
    experiment.report.section(
        "IOI: completeness",
        f"{words}{usual} In GPT-2 small the paper's search reached 3.09, 87 % of F(M).\n\n"
        "A complete circuit does what the model does even when parts of both are knocked out: for every set K of its "
        "heads F(C \\ K) is near F(M \\ K). Tried are nothing, every class, random sets, and the worst set that a "
        f"greedy search met on {len(prompts.search)} other prompts, {chosen.n_candidates} candidates a step.",
    )
    show(experiment.report, found, [f"{words} A point: one set K; on the diagonal circuit and model agree; bars: 95 % "
         "intervals."], len(task), caveat="Few sets were tried, of very many: a worse one may exist.")  # fmt: skip
    at = found.sel(knocked_out=_worst(found)).values
    experiment.number("incompleteness of the worst set", at["incompleteness"], at["low"], at["high"], len(task))
    return found


def complete_words(found: HeadCompleteness) -> str:
    """How far apart circuit and model are for the worst set that was tried."""
    worst, n = _worst(found), len(found.values["per_prompt"].axis("example"))
    size = float(found.values["incompleteness"].sel(knocked_out=worst).data)
    whole = float(found.values["points"].sel(knocked_out="nothing", side="F(M \\ K)").data)
    one: Any = found.settings["sets"][worst]
    heads = ", ".join(one["heads"]) or "none"
    how = f" ({'found by the search' if worst == 'greedy' else worst})" if worst != "nothing" else ""
    distance = told(found.values, ("incompleteness", "low", "high"), knocked_out=worst)
    return (
        f"Circuit and model differ most, by {distance} logits (n = {n}), {percent(size / whole)} of the model's own "
        f"logit difference, when the heads {heads}{how} are knocked out of both."
    )


def _worst(found: HeadCompleteness) -> str:
    scores = found.values["incompleteness"]
    return str(scores.axis("knocked_out").labels[int(scores.data.argmax())])


def _usual(found: HeadCompleteness) -> str:
    """The mean over the random sets, with its interval over them, and their range."""
    sets: Any = found.settings["sets"]
    rows = [i for i, label in enumerate(found.values["incompleteness"].axis("knocked_out").labels)
            if sets[str(label)]["family"] == "random"]  # fmt: skip
    if not rows:
        return ""
    each = found.values["per_prompt"].data[rows]  # [set, side, example]
    apart = (each[:, 1] - each[:, 0]).T  # [example, set]
    sizes = apart.mean(0).abs()
    low, high = bootstrap_interval(sizes, 0)
    mean = in_words(float(sizes.mean()), float(low), float(high), False)
    return (
        f" Over {several(len(rows), 'random set')} it is {mean} on average (interval over the sets, each on "
        f"{len(apart)} prompts), from {float(sizes.min()):.2f} to {float(sizes.max()):.2f}."
    )


def minimality(experiment: Experiment, circuit: HeadCircuit, prompts: CircuitPrompts) -> HeadMinimality:
    """What every head of the circuit is worth."""
    task = prompts.new[: prompts.settings.n_measured]
    found: HeadMinimality = experiment.step(
        "circuit-minimality",
        lambda: head_minimality(experiment.model, task, circuit, prompts.means(), search=prompts.search),
    )
    words = minimal_words(found)
    experiment.report.section(
        "IOI: minimality",
        f"{words}\n\n"
        "Does the circuit need each of its heads? For a head v a set K of other heads is knocked out of the circuit, "
        "then v as well: K is nothing or the rest of v's class, whichever shows v more, and where both leave v below "
        f"1 % of F(M) up to three heads are added greedily. K is chosen on {len(prompts.search)} other prompts.",
    )
    groups = "; ".join(f"{name} {', '.join(_named(circuit, name))}" for name in circuit.classes)
    show(experiment.report, found, [f"{words} Positive: the head helps. Classes from the left: {groups}."], len(task),
         caveat="K is chosen to make the change large, so a bar says what a head can be worth, not what it is worth in "
         "the whole circuit.")  # fmt: skip
    experiment.report.add(
        _needed(found, circuit),
        caption=f"{_help_or_harm(found)} The change of F when a head is knocked out beside its K, as a share of F(M), "
        f"and the same with nothing else knocked out; 95 % intervals over {len(task)} prompts.",
        caveat=few(len(task)),
    )
    return found


def minimal_words(found: HeadMinimality) -> str:
    """How many heads reach the least worth of 1 %, and the largest."""
    labels, below = list(found.values["minimality"].axis("head").labels), found.below()
    best = labels[int(torch.nan_to_num(found.values["minimality"].data).argmax())]
    n = len(found.values["per_prompt"].axis("example"))
    spare = (
        f"Below it, and so not shown to be needed: {', '.join(below)}."
        if below
        else "That is the least that the paper reports of its 26."
    )
    return (
        f"{len(labels) - len(below)} of {len(labels)} heads change F by at least 1 % of F(M) in their place, most of "
        f"all {best} ({percent_with(found.values, CHANGE, 1, head=best)}, n = {n}). {spare}"
    )


def _help_or_harm(found: HeadMinimality) -> str:
    labels = [str(name) for name in found.values["change"].axis("head").labels]
    harm = [name for name, high in zip(labels, found.values["high"].data) if high < 0]
    told_harm = f"; {', '.join(harm)} work{'s' * (len(harm) == 1)} against the answer" if harm else ""
    helps = int((found.values["low"].data > 0).sum())
    return f"{several(helps, 'head')} of {len(labels)} help{'s' * (helps == 1)}, with an interval above 0{told_harm}."


def _named(circuit: HeadCircuit, name: str) -> list[str]:
    return [f"{layer}.{head}" for layer, head in circuit.heads[name]]


def _needed(found: HeadMinimality, circuit: HeadCircuit) -> pd.DataFrame:
    sets: Any = found.settings["sets"]
    rows = []
    for name in map(str, found.values["minimality"].axis("head").labels):
        layer, head = map(int, name.split("."))
        rows.append(
            {
                "head": name,
                "class": circuit.class_of((layer, head)),
                "change beside K": percent_with(found.values, CHANGE, 1, head=name),
                "with nothing else gone": percent_with(found.values, ALONE, 1, head=name),
                "K": ", ".join(sets[name]["heads"]) or "nothing",
                "chosen by": CHOSEN.get(sets[name]["rule"], sets[name]["rule"]),
            }
        )
    return pd.DataFrame(rows)
