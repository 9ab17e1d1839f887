"""Do the heads that look like induction heads also copy? Their copying and eigenvalue scores beside all others'.

Olsson et al. 2022 define an induction head by both: prefix matching (where it looks) and copying (what it writes).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp import heads
from interp.heads import CopyingScores, EigenvalueScores
from interp.hooks.head_names import Head, head_name
from interp.models import identity
from interp.reproduce.asking import ask, joined, several, with_interval
from interp.reproduce.detected_heads import Detected
from interp.reproduce.experiment import Experiment
from interp.results import FEWEST, Axis, Plot, Result, Values, bootstrap_interval, interval_words
from interp.runs import provenance
from interp.tasks.wording import ordinary_tokens
from interp.viz.theme import interval, number

READS = {"embedding": "embedding", "first_block": "after block 0", "stream": "in place"}
ASKED = {
    "embedding": "reading the bare embedding",
    "after block 0": "reading the stream after block 0",
    "in place": "reading the stream in place",
    "OV eigenvalues": "by the eigenvalues of OV",
}
"""How the measures are spoken of in a sentence."""
LENGTH = 25
"""Tokens of a sample, as in the paper."""
EIGENVALUES = "OV eigenvalues"


class InductionCopying(Result):
    """rank, low, high [measure, group]: mean rank of a group's heads among all heads of the model, 0 (lowest) to 1
    (highest), 0.5 for heads chosen blindly, with its 95 % interval over heads. ranks, scores [measure, head]: of every
    head. copying [reads, layer, head]: copying scores by what the head is taken to read.
    """

    kind: ClassVar[str] = "induction_copying"


def tell_copying(experiment: Experiment, found: Detected, n: int, seed: int) -> None:
    """Copying and eigenvalue scores of the induction heads against all others, into the report."""
    model, noun = experiment.model, found.noun("induction")
    length = min(LENGTH, len(ordinary_tokens(model)), int(getattr(model.cfg, "n_ctx", None) or LENGTH))
    copying: dict[str, CopyingScores] = {}
    eigenvalues, why_not = ask(experiment, "eigenvalues", lambda: heads.eigenvalue_scores(model, "OV"), "copying")
    for reads in READS if eigenvalues is not None else ():
        one, why_not = ask(
            experiment,
            f"copying-{reads.replace('_', '-')}",
            lambda reads=reads: heads.copying_scores(model, n=n, length=length, seed=seed, reads=reads),  # type: ignore[misc]
            "copying",
        )
        if one is None:
            break
        copying[reads] = one
    title, asked = "Induction: do these heads copy?", _asked(n, length)
    if eigenvalues is None or len(copying) < len(READS):
        experiment.report.section(title, asked + why_not)
        return
    compared = experiment.step("copying-compared", lambda: compare_copying(model, copying, eigenvalues, found))
    report = experiment.report.section(title, f"{asked}\n\n{_finding(compared, noun)}")
    report.add(compared, _rank_caption(compared, noun), plot=0).add(compared, _map_caption(compared), plot=1)
    table = _table(found, copying, eigenvalues, compared)
    zero = "; –: not defined, since the head's OV circuit is zero" if "–" in set(table[EIGENVALUES]) else ""
    report.add(
        table,
        caption=f"Each {noun}: its copying scores with {interval_words(n, 'samples')}, its eigenvalue score, and in "
        "parentheses the share of the other heads that score higher. Eigenvalue scores are computed from the weights "
        f"alone, so nothing is drawn and they have no interval{zero}.",
    )
    n_heads = len(found.asked("induction"))
    for measure in compared.values["rank"].axis("measure").labels[:2]:
        at = compared.sel(measure=measure, group="these heads").values
        name = f"rank in copying ({measure}), {several(n_heads, noun)}"
        experiment.number(name, at["rank"], at["low"], at["high"], n_heads, of="heads" if n_heads > 1 else "head")


def _asked(n: int, length: int) -> str:
    return (
        "A head that looks at what followed is of use only if it writes the token it finds there. For every head and "
        f"{n} samples of {length} random tokens: of what it raises among those tokens, attending to one of them, the "
        "share that goes to that very token, scaled to −1 ... 1. The paper lets the head read the bare embedding; "
        "since many models change a token much before a late head reads it, the same is asked of the stream after the "
        "first block and of the stream as the head finds it (in place). The eigenvalue score asks the weights alone: 1 "
        "where every direction that a head's OV circuit reads comes out as itself. "
    )


def compare_copying(
    model: Any, copying: Mapping[str, CopyingScores], eigenvalues: EigenvalueScores, found: Detected
) -> InductionCopying:
    """Every head's rank in every measure, averaged over induction heads, other detected heads, and the rest."""
    started = datetime.now()
    by_reading = torch.stack([one.values["score"].data for one in copying.values()])
    scores = torch.cat([by_reading.flatten(1), eigenvalues.values["score"].sel(circuit="OV").data.flatten()[None]])
    measures = Axis("measure", (*(READS[name] for name in copying), EIGENVALUES))
    layers, of_layer = next(iter(copying.values())).values["score"].axes
    every = [divmod(i, len(of_layer)) for i in range(len(layers) * len(of_layer))]
    names = Axis("head", tuple(head_name(head) for head in every))
    ranks = _ranks(scores)
    members = groups_of(found, every)
    bounds = [bootstrap_interval(ranks[:, rows], 1) for rows in members.values()]
    axes = (measures, Axis("group", tuple(members)))
    seen = next(iter(copying.values()))
    return InductionCopying(
        values={
            "rank": Values(torch.stack([ranks[:, rows].mean(1) for rows in members.values()], 1), axes, "rank"),
            "low": Values(torch.stack([low for low, _ in bounds], 1), axes, "rank"),
            "high": Values(torch.stack([high for _, high in bounds], 1), axes, "rank"),
            "ranks": Values(ranks, (measures, names), "rank"),
            "scores": Values(scores, (measures, names)),
            "copying": Values(by_reading, (Axis("reads", measures.labels[:-1]), layers, of_layer), "score"),
        },
        settings={
            **seen.settings,
            "reads": list(copying),
            "groups": {name: [names.labels[i] for i in rows] for name, rows in members.items()},
        },
        provenance=provenance(model=identity(model), seed=seen.provenance.seed, started=started),
        plots=_plots({name: len(rows) for name, rows in members.items()}, float(seen.settings["chance"])),
    )


def groups_of(found: Detected, every: list[Head]) -> dict[str, list[int]]:
    """Indices into `every` of the induction heads, of other detected heads, and of all the rest; no empty group."""
    chosen, detected = set(found.asked("induction")), set(found.every())
    groups = {
        "these heads": [i for i, head in enumerate(every) if head in chosen],
        "other detected": [i for i, head in enumerate(every) if head in detected - chosen],
        "all others": [i for i, head in enumerate(every) if head not in detected | chosen],
    }
    return {name: rows for name, rows in groups.items() if rows}


def _ranks(scores: Float[Tensor, "measure head"]) -> Float[Tensor, "measure head"]:
    """Share of the other heads below, ties counted half; NaN (a circuit of zeros) in the middle."""
    middle = scores.nanmean()
    known = scores.nan_to_num(nan=0.0 if middle.isnan() else float(middle))
    below = (known[:, :, None] > known[:, None, :]).float().sum(-1)
    equal = (known[:, :, None] == known[:, None, :]).float().sum(-1) - 1
    return (below + equal / 2) / max(scores.shape[1] - 1, 1)


def _plots(sizes: Mapping[str, int], chance: float) -> tuple[Plot, Plot]:
    words = ", ".join(f"{name} ({n})" for name, n in sizes.items())
    return (
        Plot(
            "bars",
            "rank",
            x="measure",
            series="group",
            title="How the heads rank in copying",
            caption=f"Mean rank among all heads, with 95 % intervals over heads, where a group has at least {FEWEST}: "
            f"{words}. 0.5 is nothing special. The first three groups of bars are copying scores.",
            caveat="The direct path only: what later layers make of a head's output does not count.",
            low="low",
            high="high",
            options={"y_label": "mean rank (0 lowest, 1 highest)"},
        ),
        Plot(
            "heatmap",
            "copying",
            x="head",
            y="layer",
            series="reads",
            title="Copying scores of all heads, by what the head reads",
            caption="1: all that a head raises, attending to a random token, is that token's own logit; −1: it never "
            f"raises it; {number(chance)}: what blind raising gives.",
            options={"colour_label": "score"},
        ),
    )


def _finding(compared: InductionCopying, noun: str) -> str:
    """How the induction heads rank by each measure, and what that says."""
    at = compared.sel(group="these heads").values
    measures = [str(measure) for measure in at["rank"].axis("measure").labels]
    each = [[at[name].sel(measure=measure) for name in ("rank", "low", "high")] for measure in measures]
    told = ", ".join(f"{with_interval(*one)} ({measure})" for measure, one in zip(measures, each))
    n = len(compared.settings["groups"]["these heads"])
    first, rest = float(at["rank"].data[0]), float(at["rank"].data[1:].max())
    better = " The paper's reading understates them here." if rest > first + 0.1 else ""
    return f"Mean rank of {several(n, noun)} among all heads, where 0.5 is nothing special: {told}.{better}"


def above_half(compared: InductionCopying) -> tuple[list[str], list[str]]:
    """The measures by which these heads rank clearly above the middle, and the others, in words."""
    at = compared.sel(group="these heads").values
    measures = [str(measure) for measure in at["rank"].axis("measure").labels]
    above = [measure for measure in measures if float(at["low"].sel(measure=measure).data) > 0.5]
    return [ASKED[measure] for measure in above], [ASKED[measure] for measure in measures if measure not in above]


def _rank_caption(compared: InductionCopying, noun: str) -> str:
    """What the bars show of this model."""
    above, rest = above_half(compared)
    sizes = {name: len(heads_of) for name, heads_of in compared.settings["groups"].items()}
    if sizes["these heads"] < FEWEST:
        told = f"{several(sizes['these heads'], noun)}, too few for an interval, beside the others"
    elif above:
        told = f"{joined(above)}, these heads rank above the middle (0.5)"
        told += f"; {joined(rest)}, not clearly" if rest else ""
    else:
        told = "by no measure do these heads clearly rank above the middle (0.5)"
    few = {name: n for name, n in sizes.items() if n < FEWEST}
    none = f"; none for {joined([f'{name} ({n})' for name, n in few.items()])}, which are too few" if few else ""
    return (
        f"Mean rank in copying among all {sum(sizes.values())} heads: {told}. Whiskers: 95 % intervals over heads "
        f"({', '.join(f'{name}: {n}' for name, n in sizes.items())}{none}); these heads: the {noun}s."
    )


def _map_caption(compared: InductionCopying) -> str:
    """What the maps show of this model."""
    best = compared.top(1, "signed", "copying").iloc[0]
    return (
        f"Copying score of every head, by what it reads. The highest is {number(float(best['value']))}, of head "
        f"{best['layer']}.{best['head']} {ASKED[best['reads']]}. 1: all that a head raises, attending to a random "
        f"token, is that token's own logit; {number(float(compared.settings['chance']))}: what blind raising gives; "
        "−1: it never raises it."
    )


def _table(
    found: Detected,
    copying: Mapping[str, CopyingScores],
    eigenvalues: EigenvalueScores,
    compared: InductionCopying,
) -> pd.DataFrame:
    rows = []
    for layer, head in found.asked("induction"):
        row = {"head": head_name((layer, head))}
        for reads, one in copying.items():
            at = one.sel(layer=layer, head=head).values
            rank = compared.values["ranks"].sel(measure=READS[reads], head=row["head"]).data
            bounds = interval(float(at["low"].data), float(at["high"].data), 2)
            row[READS[reads]] = _cell(float(at["score"].data), bounds, 1 - float(rank))
        value = eigenvalues.values["score"].sel(circuit="OV", layer=layer, head=head).data
        rank = compared.values["ranks"].sel(measure=EIGENVALUES, head=row["head"]).data
        row[EIGENVALUES] = _cell(float(value), "", 1 - float(rank)) if not value.isnan() else "–"
        rows.append(row)
    return pd.DataFrame(rows)


def _cell(score: float, bounds: str, above: float) -> str:
    share = f"{above:.0%}" if above >= 0.01 else "under 1%"
    return " ".join(part for part in (number(score, 2), bounds, f"({share})") if part)
