"""Induction heads (Olsson et al. 2022, "In-context Learning and Induction Heads"; Elhage et al. 2021).

A model that has seen "A B ... A" expects B. On random tokens, where nothing else predicts the next one, this shows as
a loss that falls when the sequence repeats, and as heads that look from A at what followed A before. The sections ask,
in order: what repetition saves; which heads look back; whether they copy; what hangs on them; whose output their keys
read; what they have to do with learning from a real text; and how such heads form in training.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from interp.errors import InputError
from interp.reproduce.asking import several, with_interval
from interp.reproduce.experiment import Experiment
from interp.reproduce.induction_behaviour import ENDS, tell_heads, tell_loss
from interp.reproduce.induction_composition import tell_composition
from interp.reproduce.induction_copying import tell_copying
from interp.reproduce.induction_knock_outs import tell_knock_outs
from interp.reproduce.induction_summary import summary
from interp.reproduce.induction_texts import Places, tell_texts
from interp.reproduce.phase_change import PhaseChangeSettings, phase_change_of_revisions, run_phase_change
from interp.runs import Run
from interp.viz import Report

TITLE = "Induction heads"
REVISIONS = ("step0", "step128", "step256", "step512", "step1000", "step2000", "step4000", "step8000", "step143000")


@dataclass(frozen=True)
class InductionSettings:
    """What decides the numbers.

    n: prompts of random tokens. length: random tokens before they repeat; fewer where the context is shorter. seed: of
    every draw. prepend_bos: begin with BOS. views: heads of each kind whose attention is shown. n_copying: samples for
    the copying scores. n_knock_out, n_random: prompts of the knock-outs, and draws of random heads. most_heads: the
    most induction heads knocked out together. n_texts, n_texts_knock_out, n_random_texts: passages of real text for the
    in-context score and for its knock-out, and draws there. early, late, window: where losses in texts are read. texts:
    a .txt file or a folder of them instead of the texts that come with the house. phase_change: what is trained;
    None: nothing. revisions: a model on the hub whose training checkpoints are measured as well, such as
    "EleutherAI/pythia-70m"; revision_names: which.
    """

    n: int = 16
    length: int = 50
    seed: int = 0
    prepend_bos: bool = False
    views: int = 2
    n_copying: int = 10
    n_knock_out: int = 6
    n_random: int = 14
    most_heads: int = 8
    n_texts: int = 24
    n_texts_knock_out: int = 8
    n_random_texts: int = 6
    early: int = 50
    late: int = 500
    window: int = 50
    texts: str | None = None
    phase_change: PhaseChangeSettings | None = field(default_factory=PhaseChangeSettings)
    revisions: str | None = None
    revision_names: tuple[str, ...] = REVISIONS

    @classmethod
    def quick(cls) -> InductionSettings:
        """The same questions and figures in a quarter of the time: fewer prompts and draws, one training seed."""
        return cls(
            n=5,
            n_copying=5,
            n_knock_out=5,
            n_random=6,
            n_texts=6,
            n_texts_knock_out=5,
            n_random_texts=5,
            phase_change=PhaseChangeSettings.quick(),
        )


def run_induction(model: Any, settings: InductionSettings, run: Run, report: Report) -> Experiment:
    """Ask all questions in order and tell the answers in the report; what the model cannot be asked is said there.

    Returns the experiment with its headline numbers, each with its interval and how many prompts (heads, pairs) it is
    the mean of.
    """
    experiment = Experiment(model, run, report, "induction")
    settings = _fitting(model, settings)
    repeated = {"length": settings.length, "seed": settings.seed, "prepend_bos": settings.prepend_bos}
    tell_loss(experiment, settings.n, repeated)
    found = tell_heads(experiment, settings.n, settings.views, repeated)
    chosen = found.asked("induction", settings.most_heads)
    tell_copying(experiment, found, settings.n_copying, settings.seed)
    tell_knock_outs(experiment, found, chosen, settings.n_random, {"n": settings.n_knock_out, **repeated})
    tell_composition(experiment, found, settings.length, settings.seed)
    tell_texts(experiment, found, chosen, Places(settings.early, settings.late, settings.window), _texts(settings))
    changed = None
    if settings.phase_change is not None:
        changed = run_phase_change(replace(settings.phase_change, seed=settings.seed), run, report)
        experiment.headline += changed.headline
    report.abstract(summary(experiment, found, changed))
    if settings.revisions is not None:
        _tell_revisions(experiment, settings)
    return experiment


def _fitting(model: Any, settings: InductionSettings) -> InductionSettings:
    """As many random tokens as the model's context takes twice."""
    n_ctx = getattr(model.cfg, "n_ctx", None)
    room = settings.length if n_ctx is None else (int(n_ctx) - int(settings.prepend_bos)) // 2
    return replace(settings, length=min(settings.length, room))


def _texts(settings: InductionSettings) -> dict[str, Any]:
    return {
        "n": settings.n_texts,
        "n_knocked": settings.n_texts_knock_out,
        "n_random": settings.n_random_texts,
        "source": settings.texts,
        "seed": settings.seed,
        "prepend_bos": settings.prepend_bos,
    }


def _tell_revisions(experiment: Experiment, settings: InductionSettings) -> None:
    name = str(settings.revisions)
    title = f"Phase change: training revisions of {name}"
    asked = (
        f"The same measures on {several(len(settings.revision_names), 'published checkpoint')} of {name} "
        f"({', '.join(settings.revision_names)}): {settings.n} prompts of {settings.length} random tokens and the same "
        "again. "
    )
    try:
        curves = experiment.step(
            "revisions",
            lambda: phase_change_of_revisions(
                name,
                settings.revision_names,
                n=settings.n,
                length=settings.length,
                seed=settings.seed,
                prepend_bos=settings.prepend_bos,
            ),
        )
    except InputError as error:
        experiment.skip(f"training revisions of {name}: {error}.")
        experiment.report.section(title, f"{asked}Not measured here: {error}.")
        return
    gained = [curves.sel(step=curves.values["in_context"].axis("step").labels[i]).values for i in (0, -1)]
    told = [with_interval(at["in_context"], at["low"], at["high"]) for at in gained]
    best = [with_interval(*(at[f"best{end}"].sel(kind="induction") for end in ENDS)) for at in gained]
    experiment.report.section(
        title,
        f"{asked}\n\nThe loss of the second copy less that of the first goes from {told[0]} to {told[1]} nats, the "
        f"best prefix-matching score from {best[0]} to {best[1]} (n = {several(settings.n, 'prompt')}).",
    ).add(curves)
