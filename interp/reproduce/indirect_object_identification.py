"""Indirect object identification (Wang et al. 2022, "Interpretability in the Wild").

"When Mary and John went to the store, John gave a drink to" continues with Mary, the name that did not come twice. The
experiment asks how well the model does this, where in it the answer appears, which heads write it, and where the
information about the names has to be restored in a prompt with other names to bring the answer back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from interp import heads, lens, patching, tasks
from interp.lens import Attribution
from interp.patching import PatchingResult
from interp.reproduce.experiment import Experiment
from interp.results import mean_with_interval
from interp.runs import Run
from interp.tasks import PromptPairs
from interp.viz import Report

TITLE = "Indirect object identification"


@dataclass(frozen=True)
class IoiSettings:
    """What decides the numbers.

    n: prompt pairs for behaviour, lens and attribution. n_maps: pairs for the patching maps. seed: of the prompts.
    prepend_bos: begin with BOS. corruption: of the patching maps. views: heads whose attention is shown.
    """

    n: int = 120
    n_maps: int = 16
    seed: int = 0
    prepend_bos: bool = False
    corruption: str = "abc"
    views: int = 3

    @classmethod
    def quick(cls) -> IoiSettings:
        """The same questions in a quarter of the time: fewer prompts, wider intervals."""
        return cls(n=30, n_maps=4)


def run_ioi(model: Any, settings: IoiSettings, run: Run, report: Report) -> Experiment:
    """Behaviour by template and order, logit lens, direct logit attribution, and denoising maps, into the report.

    Returns the experiment with its headline numbers: logit difference (logits), accuracy, and the heads that matter.
    """
    experiment = Experiment(model, run, report, "ioi")
    options: dict[str, Any] = {"seed": settings.seed, "prepend_bos": settings.prepend_bos}
    task = tasks.ioi(model, n=settings.n, corruption=settings.corruption, **options)
    maps = tasks.ioi(model, n=settings.n_maps, corruption=settings.corruption, **options)
    _behaviour(experiment, task)
    _lens(experiment, task)
    movers = _attribution(experiment, task)
    _attention(experiment, task, movers[: settings.views])
    _maps(experiment, maps)
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


def _attribution(experiment: Experiment, task: PromptPairs) -> list[tuple[int, int]]:
    """Attribution by component and by head; returns the heads by size of their contribution, largest first."""
    model = experiment.model
    parts = experiment.step("components", lambda: lens.direct_attribution(model, task, by="component"))
    by_head = experiment.step("heads", lambda: lens.direct_attribution(model, task, by="head"))
    experiment.report.section(
        "IOI: which parts write the answer",
        "The final residual stream is the sum of what every part wrote, so with the final norm's scale held at its "
        "value the logit difference is a sum over parts. Heads that write towards the indirect object play the "
        "part of the paper's name movers, heads that write against it that of its negative name movers; whether they "
        "read the name that they write is not measured by this sum.",
    ).add(parts).add(by_head)
    _number_heads(experiment, by_head, len(task))
    top = by_head.top(10, by="abs")
    return [(int(row.layer), int(row.head)) for row in top.itertuples()]


def _number_heads(experiment: Experiment, by_head: Attribution, n: int) -> None:
    frame = by_head.to_frame().sort_values("value")
    for rows in (frame.tail(3).iloc[::-1], frame.head(2)):
        for row in rows.itertuples():
            at = by_head.sel(layer=int(row.layer), head=int(row.head)).values
            name = f"direct effect of head {row.layer}.{row.head}"
            experiment.number(name, at["contribution"], at["low"], at["high"], n)


def _attention(experiment: Experiment, task: PromptPairs, chosen: list[tuple[int, int]]) -> None:
    shown = experiment.step("attention", lambda: heads.patterns(experiment.model, task[:1], heads=chosen))
    experiment.report.add(
        shown, caption="Attention of the heads with the largest direct effect, on the first prompt: the last row is "
        "where each looks when it writes.", caveat="One prompt; the effects above are means over all of them.",
    )  # fmt: skip


def _maps(experiment: Experiment, task: PromptPairs) -> None:
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
