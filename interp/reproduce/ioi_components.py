"""Which parts write the answer, what they take it from, and where the information travels."""

from __future__ import annotations

from interp import lens, patching
from interp.lens import Attribution
from interp.patching import PatchingResult
from interp.reproduce.experiment import Experiment
from interp.reproduce.ioi_orders import effects_by_order
from interp.tasks import PromptPairs

N_WRITERS = 10
"""Heads whose sources are shown."""


def attribution(experiment: Experiment, task: PromptPairs, n_sources: int) -> Attribution:
    """Attribution by component, by head, and of the largest heads by source and order; returns the one by head."""
    model = experiment.model
    parts = experiment.step("components", lambda: lens.direct_attribution(model, task, by="component"))
    by_head = experiment.step("heads", lambda: lens.direct_attribution(model, task, by="head"))
    experiment.report.section(
        "IOI: which parts write the answer",
        "The final residual stream is the sum of what every part wrote, so with the final norm's scale held at its "
        f"value the logit difference is a sum over parts ({len(task)} prompts). A head's share comes from the tokens "
        "it attends to: what it takes from IO concerns the indirect object, what it takes from S1 or S2 the subject, "
        "and what it takes from the end itself is what earlier parts wrote there.",
    ).add(parts).add(by_head)
    largest = [(int(row.layer), int(row.head)) for row in by_head.top(N_WRITERS, by="abs").itertuples()]
    some = task[:n_sources]
    sources = experiment.step("sources", lambda: lens.direct_attribution(model, some, by="source", heads=largest))
    experiment.report.add(
        sources,
        caption=f"From which token the {len(largest)} largest heads take what they write ({len(some)} prompts).",
    )
    orders = experiment.step("orders", lambda: effects_by_order(model, task, by_head, largest))
    told = "All of them do much the same in both."
    if orders.one_sided:
        told = f"One order only, or nearly so: {', '.join(orders.one_sided)}."
    experiment.report.add(orders, caption=f"{orders.plots[0].caption} {told}")
    _number_heads(experiment, by_head, len(task))
    return by_head


def _number_heads(experiment: Experiment, by_head: Attribution, n: int) -> None:
    frame = by_head.to_frame().sort_values("value")
    for rows in (frame.tail(3).iloc[::-1], frame.head(2)):
        for row in rows.itertuples():
            at = by_head.sel(layer=int(row.layer), head=int(row.head)).values
            name = f"direct effect of head {row.layer}.{row.head}"
            experiment.number(name, at["contribution"], at["low"], at["high"], n)


def maps(experiment: Experiment, task: PromptPairs) -> None:
    """Denoising maps of the stream at the named tokens and of every head."""
    model = experiment.model
    stream = experiment.step("map-stream", lambda: patching.sweep(model, task, "resid_pre", ("layer", "role")))
    by_head = experiment.step("map-heads", lambda: patching.sweep(model, task, "z", ("layer", "head")))
    experiment.report.section(
        "IOI: where the information travels",
        f"Denoising: {len(task)} corrupt prompts, into which one activation of the clean run is put at a time. In "
        "the early layers, patching the stream at a name simply puts the clean name into the prompt: IO alone brings "
        "its answer back, S1 alone makes the wrong name likelier. What restores the difference later, at S2 or at the "
        "end, is information that heads have moved there. The stream is patched at the named tokens; a head's output "
        "at all tokens at once.",
    ).add(stream).add(by_head)
    _number_patches(experiment, by_head, len(task))


def _number_patches(experiment: Experiment, by_head: PatchingResult, n: int) -> None:
    for row in by_head.top(3, by="signed").itertuples():
        at = by_head.sel(layer=int(row.layer), head=int(row.head)).values
        experiment.number(f"patching head {row.layer}.{row.head}", at["effect"], at["low"], at["high"], n)
