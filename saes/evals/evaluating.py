"""`evaluate`: everything measured of dictionaries on held-out tokens, in one pass over a model."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.hooks.capturing import capture
from interp.hooks.sites import Site, as_site, check
from interp.models import identity
from interp.results import Axis, Result, Values
from interp.runs import progress, provenance
from saes.activations.keeping import ordinary
from saes.activations.reading import width
from saes.architectures import Dictionary
from saes.evals.behaviour import FROM_RUNS, RUNS, Passages, run_intervals, run_measures
from saes.evals.fidelity import MEASURES, Fidelity
from saes.evals.firing import direction_measures, firing_measures, histogram, nearest_cosines
from saes.evals.showing import evaluation_plots


class DictionaryEvaluation(Result):
    """measures [dictionary, measure]: every number; the measures' meanings stand in `settings["meaning"]`.

    summary: the most important of them. runs, low, high [dictionary, measure]: those that a model's predictions give,
    with 95 % intervals over prompts. losses [dictionary, run, example]: cross-entropy of the whole model, with the
    reconstruction, with zeros, with the mean (nats). frontier, frontier_ce [dictionary, coordinate]: active latents
    against explained variance and against the loss recovered. histogram, nearest [dictionary, bin]: latents by how
    often they fire, and by how alike their direction is to the nearest other. spread [kind, statistic]: over seeds.
    """

    kind: ClassVar[str] = "dictionary_evaluation"


MEANING = {
    **MEASURES,
    "ce_recovered_zero": "share of the loss that zeros would cost which the reconstruction saves",
    "ce_recovered_mean": "the same against the mean activation",
    "ce_increase": "loss with the reconstruction less that of the whole model, nats",
    "kl": "KL of the whole model's predictions from those with the reconstruction, nats",
    "alive": "share of latents that fired at all on these tokens",
    "dead": "share that did not",
    "dense": "share that fired on over a tenth of the tokens",
    "nearest_cosine": "mean of each living direction's largest cosine with another",
    "nearest_cosine_95": "95th percentile of the same",
    "encoder_cosine": "mean cosine of a living latent's encoder and decoder directions",
}
SUMMARY = {
    "l0": "L0",
    "explained_variance": "EV",
    "ce_recovered_mean": "recovered",
    "ce_recovered_zero": "over zeros",
    "ce_increase": "loss +",
    "kl": "KL",
    "dead": "dead",
    "dense": "dense",
    "nearest_cosine": "alike",
}
"""The measures that a reader looks for first: the words for them."""
N_BINS = 30


@torch.no_grad()
def evaluate(
    dictionaries: Dictionary | Mapping[str, Dictionary],
    model: Any,
    tokens: Int[Tensor, "batch pos"],
    site: Site | str | None = None,
    *,
    excluded: Sequence[int] = (),
    batch_size: int = 4,
    with_model: bool = True,
) -> DictionaryEvaluation:
    """Measure dictionaries of one site on prompts of equal length.

    site: where (default: what the dictionaries' metadata say). tokens: of documents that no dictionary was trained on.
    excluded: token ids left out, beside first positions and outliers of norm. batch_size: prompts at a time.
    with_model=False leaves out everything that needs the rest of the model. Raises InputError for a site of another
    width.
    """
    started = datetime.now(UTC)
    named = {"dictionary": dictionaries} if isinstance(dictionaries, Dictionary) else dict(dictionaries)
    where = _site(named, site)
    _check_width(model, where, named)
    found = _Found(named)
    mean = _mean(model, tokens, where, excluded, batch_size)
    with progress(len(tokens) * len(named), f"evaluating {len(named)} dictionaries") as bar:
        for part in tokens.split(batch_size):
            passages = Passages(model, where, part, excluded)
            if with_model:
                found.begin(passages, mean)
            for name in named:
                found.add(name, passages)
                bar.advance(len(part))
    values = found.values()
    n_tokens = next(iter(found.fidelity.values())).n
    settings = {"site": str(where), "n_prompts": len(tokens), "n_tokens": n_tokens, "meaning": MEANING}
    return DictionaryEvaluation(
        values=values,
        settings=settings,
        provenance=provenance(model=identity(model), started=started),
        plots=evaluation_plots(values, found.frame(values), len(tokens), n_tokens),
    )


class _Found:
    """What is found of each dictionary, portion by portion."""

    def __init__(self, named: Mapping[str, Dictionary]) -> None:
        self.named = named
        self.fidelity = {name: Fidelity() for name in named}
        self._common: list[tuple[Tensor, Tensor, Tensor]] = []
        self._losses: dict[str, list[Tensor]] = {name: [] for name in named}
        self._kl: dict[str, list[Tensor]] = {name: [] for name in named}

    def begin(self, passages: Passages, mean: Float[Tensor, " d_in"]) -> None:
        """What is the same for all dictionaries: the whole model, zeros, the mean."""
        whole = passages.begin()
        zero = passages.seen(torch.zeros_like(mean)[None, None]).loss
        self._common.append((whole, zero, passages.seen(mean.to(passages.activations)[None, None]).loss))

    def add(self, name: str, passages: Passages) -> None:
        """One dictionary on one portion."""
        x = passages.kept
        out = self.named[name](x)
        self.fidelity[name].add(x, out.reconstruction, out.latents)
        if self._common:
            given = torch.zeros_like(passages.activations)
            given[passages.replaced] = out.reconstruction
            seen = passages.seen(given)
            self._losses[name].append(seen.loss)
            self._kl[name].append(seen.kl)

    def values(self) -> dict[str, Values]:
        """Everything by name; the first is the headline."""
        names = Axis("dictionary", tuple(self.named))
        rows = {name: self._plain_measures(name) for name in self.named}
        of_runs: dict[str, Values] = {}
        if self._common:
            of_runs = self._of_runs(names)
            for name, row in zip(self.named, of_runs["runs"].data.tolist()):
                rows[name] |= dict(zip(FROM_RUNS, row))
        measure = tuple(next(iter(rows.values())))
        table = torch.tensor([[row[each] for each in measure] for row in rows.values()])
        short = tuple(each for each in SUMMARY if each in measure)
        columns = [measure.index(each) for each in short]
        return {
            "measures": Values(table, (names, Axis("measure", measure))),
            "summary": Values(table[:, columns], (names, Axis("measure", tuple(SUMMARY[each] for each in short)))),
            **of_runs,
            **_frontiers(names, table, measure, of_runs),
            **self._histograms(names),
            **_spread(rows),
        }

    def frame(self, values: Mapping[str, Values]) -> pd.DataFrame:
        """A row for each dictionary: its name, its family, its measures."""
        table = values["measures"]
        frame = pd.DataFrame(table.data.numpy(), columns=list(table.axes[1].labels))
        frame.insert(0, "dictionary", list(self.named))
        frame.insert(1, "family", [family_of(dictionary) for dictionary in self.named.values()])
        return frame

    def _plain_measures(self, name: str) -> dict[str, float]:
        firing = self.fidelity[name].firing
        directions = direction_measures(self.named[name], (firing > 0).to(self.named[name].decoder.device))
        return {**self.fidelity[name].measures(), **firing_measures(firing), **directions}

    def _of_runs(self, names: Axis) -> dict[str, Values]:
        whole, zero, mean = (torch.cat(parts) for parts in zip(*self._common))
        losses = {name: torch.stack([whole, torch.cat(self._losses[name]), zero, mean]) for name in self.named}
        kl = {name: torch.cat(self._kl[name]) for name in self.named}
        centre = torch.stack([run_measures(losses[name].mean(-1), kl[name].mean(-1)) for name in self.named])
        low, high = zip(*(run_intervals(losses[name], kl[name]) for name in self.named))
        axes = (names, Axis("measure", FROM_RUNS))
        example = Axis("example", tuple(range(len(whole))))
        return {
            "runs": Values(centre, axes),
            "low": Values(torch.stack(low), axes),
            "high": Values(torch.stack(high), axes),
            "losses": Values(torch.stack(list(losses.values())), (names, Axis("run", RUNS), example), "nats"),
        }

    def _histograms(self, names: Axis) -> dict[str, Values]:
        counts, cosines = [], []
        edges = torch.linspace(0.0, 1.0, N_BINS + 1)
        # The rarest that can be seen is one token.
        lowest = min(-1.0, float(math.floor(-math.log10(next(iter(self.fidelity.values())).n))))
        for name, dictionary in self.named.items():
            firing = self.fidelity[name].firing
            logs, count = histogram(firing, N_BINS, lowest)
            counts.append(count)
            nearest = nearest_cosines(dictionary, (firing > 0).to(dictionary.decoder.device)).cpu()
            cosines.append(torch.histogram(nearest.clamp(0, 1), edges).hist)
        bins = Axis("log10 share", tuple(f"{float(edge):.1f}" for edge in logs[:-1]))
        alike = Axis("cosine", tuple(f"{float(edge):.2f}" for edge in edges[:-1]))
        return {
            "histogram": Values(torch.stack(counts), (names, bins), "latents"),
            "nearest": Values(torch.stack(cosines), (names, alike), "latents"),
        }


def family_of(dictionary: Dictionary) -> str:
    """The architecture that a dictionary was trained as."""
    return str(dictionary.metadata.get("training_architecture", dictionary.config.architecture))


def _frontiers(names: Axis, table: Tensor, measure: Sequence[str], of_runs: Mapping[str, Values]) -> dict[str, Values]:
    l0 = table[:, measure.index("l0")]
    both = (l0, table[:, measure.index("explained_variance")])
    found = {"frontier": Values(torch.stack(both, 1), (names, Axis("coordinate", ("L0", "explained variance"))))}
    if of_runs:
        column = FROM_RUNS.index("ce_recovered_mean")
        axes = (names, Axis("coordinate", ("L0", "share of the loss recovered")))
        for name, of in (("frontier_ce", "runs"), ("frontier_ce_low", "low"), ("frontier_ce_high", "high")):
            found[name] = Values(torch.stack([l0, of_runs[of].data[:, column]], 1), axes)
    return found


def _spread(rows: Mapping[str, Mapping[str, float]]) -> dict[str, Values]:
    """Explained variance over dictionaries that differ by their seed alone, where there are any."""
    kinds: dict[str, list[float]] = {}
    for name, row in rows.items():
        if re.search(r"-seed\d+$", name):
            kinds.setdefault(name.rpartition("-seed")[0], []).append(row["explained_variance"])
    several = {kind: torch.tensor(values) for kind, values in kinds.items() if len(values) > 1}
    if not several:
        return {}
    data = [[float(v.mean()), float(v.max() - v.min()), float(v.std()), len(v)] for v in several.values()]
    statistic = Axis("statistic", ("mean", "range", "standard deviation", "seeds"))
    return {"spread": Values(torch.tensor(data), (Axis("kind", tuple(several)), statistic))}


def _site(named: Mapping[str, Dictionary], site: Site | str | None) -> Site:
    if site is not None:
        return as_site(site)
    told = {dictionary.metadata.get("hook_name") for dictionary in named.values()}
    if len(told) != 1 or None in told:
        raise InputError(
            "say with site= where in the model these dictionaries belong; their metadata do not agree on it"
        )
    return as_site(str(told.pop()))


def _check_width(model: Any, site: Site, named: Mapping[str, Dictionary]) -> None:
    check(model, site)
    here = width(model, site)
    for name, dictionary in named.items():
        if dictionary.d_in != here:
            raise InputError(
                f"{name} takes activations of width {dictionary.d_in}, and {site} of this model has {here}; it was "
                f"made for {dictionary.metadata.get('hook_name', 'another site')} of "
                f"{dictionary.metadata.get('model_name', 'another model')}"
            )


def _mean(model: Any, tokens: Tensor, site: Site, excluded: Sequence[int], batch_size: int) -> Float[Tensor, " d_in"]:
    total, n = torch.zeros(()), 0
    for part in tokens.split(batch_size):
        acts = capture(model, part, site)[site].float().flatten(2)
        kept = acts[ordinary(acts, part, excluded=excluded)]
        total, n = total + kept.double().sum(0).cpu(), n + len(kept)
    if not n:
        raise InputError("no token is left to measure on: all are in first place, excluded, or outliers")
    return (total / n).float()
