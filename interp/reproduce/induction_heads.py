"""Induction heads (Olsson et al. 2022, "In-context Learning and Induction Heads"; Elhage et al. 2021).

A model that has seen "A B ... A" expects B. On random tokens, where nothing else predicts the next one, this shows as
a loss that falls when the sequence repeats, and as heads that look from A at what followed A before. The sections ask,
in order: what repetition saves; which heads look back; whether they copy; what hangs on them; whose output their keys
read; what they have to do with learning from a real text; and how such heads form in training.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from interp import heads
from interp.errors import InputError
from interp.heads import HeadScores
from interp.hooks.head_names import head_name
from interp.reproduce.asking import several, with_interval
from interp.reproduce.detected_heads import THRESHOLD, WORDS, Detected
from interp.reproduce.experiment import Experiment
from interp.reproduce.induction_composition import tell_composition
from interp.reproduce.induction_copying import tell_copying
from interp.reproduce.induction_knock_outs import tell_knock_outs
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
        """The same questions and figures in a quarter of the time: fewer prompts and draws, smaller models trained."""
        return cls(
            n=5,
            n_copying=5,
            n_knock_out=3,
            n_random=6,
            n_texts=6,
            n_texts_knock_out=3,
            n_random_texts=2,
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
    _tell_loss(experiment, settings.n, repeated)
    found = _tell_heads(experiment, settings.n, settings.views, repeated)
    chosen = found.asked("induction", settings.most_heads)
    tell_copying(experiment, found, settings.n_copying, settings.seed)
    tell_knock_outs(experiment, found, chosen, settings.n_random, {"n": settings.n_knock_out, **repeated})
    tell_composition(experiment, found, settings.length, settings.seed)
    tell_texts(experiment, found, chosen, Places(settings.early, settings.late, settings.window), _texts(settings))
    if settings.phase_change is not None:
        changed = run_phase_change(replace(settings.phase_change, seed=settings.seed), run, report)
        experiment.headline += changed.headline
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


def _tell_loss(experiment: Experiment, n: int, repeated: dict[str, Any]) -> None:
    loss = experiment.step("loss", lambda: heads.repeated_loss(experiment.model, n=n, **repeated))
    first, second = (
        [loss.sel(copy=copy).values[name] for name in ("copies", "copies_low", "copies_high")] for copy in (1, 2)
    )
    experiment.report.section(
        "Induction: what repetition saves",
        f"{n} prompts of {repeated['length']} random tokens, then the same tokens again. Nothing but the "
        "repetition predicts a token of the second copy, so what the model saves there it saves by looking "
        "back. In the first copy the loss may lie above a uniform guess: a language model expects text, not random "
        f"tokens.\n\nThe mean loss is {with_interval(*first)} nats in the first copy and {with_interval(*second)} in "
        "the second.",
    ).add(loss)
    for name, (mean, low, high) in (("loss, first copy", first), ("loss, second copy", second)):
        experiment.number(name, mean, low, high, n)


def _tell_heads(experiment: Experiment, n: int, views: int, repeated: dict[str, Any]) -> Detected:
    scores = experiment.step("scores", lambda: heads.scores(experiment.model, n=n, keep_patterns=views, **repeated))
    found = Detected.by_score(scores)
    experiment.report.section("Induction: the heads", _heads_text(found)).add(scores)
    for kind, words in WORDS.items():
        for layer, head in scores.top_heads(kind, n=3 if kind == "induction" else 1):
            at = scores.sel(kind=kind, layer=layer, head=head).values
            experiment.number(f"{words} head {layer}.{head}", at["score"], at["low"], at["high"], n)
    experiment.report.add(
        _best_heads(scores),
        caption="The five best heads of each kind with 95 % intervals over prompts, beside the same measure on random "
        "tokens that do not repeat (control).",
    )
    return found


def _heads_text(found: Detected) -> str:
    counts = "; ".join(
        f"{several(len(found.heads[kind]), f'{words} head')}"
        + (f" ({', '.join(head_name(head) for head in found.heads[kind])})" if found.heads[kind] else "")
        for kind, words in WORDS.items()
    )
    return (
        "A previous-token head looks from a token to the one before it; a duplicate-token head to the same token in "
        "the first copy; an induction head to the token after it. The score is the share of a head's attention that "
        f"lies there; heads that reach {THRESHOLD} count as detected, which is a convention.\n\nDetected, highest "
        f"first: {counts}. {found.caution()}"
    )


def _best_heads(scores: HeadScores) -> pd.DataFrame:
    """The five best heads of each kind with their control, as a table."""
    rows = []
    for kind, words in WORDS.items():
        for layer, head in scores.top_heads(kind, 5):
            at = scores.sel(kind=kind, layer=layer, head=head).values
            score = with_interval(at["score"], at["low"], at["high"])
            rows.append((words, head_name((layer, head)), score, f"{float(at['control'].data):.4f}"))
    return pd.DataFrame(rows, columns=["kind", "head", "score [95 % interval]", "control"])


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
        experiment.report.section(title, f"{asked}Not measured here: {error}.")
        return
    best = curves.values["best"].sel(kind="induction")
    gained = [curves.sel(step=curves.values["in_context"].axis("step").labels[i]).values for i in (0, -1)]
    told = [with_interval(at["in_context"], at["low"], at["high"]) for at in gained]
    experiment.report.section(
        title,
        f"{asked}\n\nThe loss of the second copy less that of the first goes from {told[0]} to {told[1]} nats, the "
        f"best prefix-matching score from {float(best.data[0]):.2f} to {float(best.data[-1]):.2f}.",
    ).add(curves)
