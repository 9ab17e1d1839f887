"""`evaluate`: everything measured of dictionaries on held-out tokens, in one pass over a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.hooks.capturing import capture
from interp.hooks.sites import Site, as_site
from interp.models import identity
from interp.results import Axis, Plot, Result, Values, bootstrap_interval
from interp.runs import progress, provenance
from saes.activations.keeping import ordinary
from saes.architectures import Dictionary
from saes.evals.behaviour import RUNS, losses_with, recovered
from saes.evals.fidelity import Fidelity
from saes.evals.firing import direction_measures, firing_measures, histogram

FROM_RUNS = ("ce_recovered_zero", "ce_recovered_mean", "ce_increase", "kl")
"""Measures of what the model makes of reconstructions, with intervals over prompts."""


class DictionaryEvaluation(Result):
    """measures [dictionary, measure]: every number; the measures' meanings stand in `settings["meaning"]`.

    runs, low, high [dictionary, measure]: those that a model's predictions give, with 95 % intervals over prompts.
    losses [dictionary, run, example]: cross-entropy of the whole model, with the reconstruction, with zeros, with the
    mean (nats). histogram [dictionary, bin]: latents by log10 of the share of tokens they fire on.
    """

    kind: ClassVar[str] = "dictionary_evaluation"


MEANING = {
    "ce_recovered_zero": "share of the loss that zeros would cost which the reconstruction saves",
    "ce_recovered_mean": "the same against the mean activation",
    "ce_increase": "loss with the reconstruction less that of the whole model, nats",
    "kl": "KL of the whole model's predictions from those with the reconstruction, nats",
    "alive": "share of latents that fired at all",
    "dead": "share that did not",
    "dense": "share that fired on over a tenth of the tokens",
    "nearest_cosine": "mean of each living direction's largest cosine with another",
    "nearest_cosine_95": "95th percentile of the same",
    "encoder_cosine": "mean cosine of a living latent's encoder and decoder directions",
}


@torch.no_grad()
def evaluate(
    dictionaries: Dictionary | Mapping[str, Dictionary],
    model: Any,
    tokens: Int[Tensor, "batch pos"],
    site: Site | str | None = None,
    *,
    excluded: Sequence[int] = (),
    batch_size: int = 8,
    with_model: bool = True,
) -> DictionaryEvaluation:
    """Measure dictionaries of one site on prompts of equal length.

    site: where (default: what the dictionaries' metadata say). tokens: of documents that no dictionary was trained on.
    excluded: token ids left out, beside first positions and outliers of norm. with_model=False leaves out everything
    that needs the rest of the model. Raises InputError for a site of another width.
    """
    started = datetime.now(UTC)
    named = {"dictionary": dictionaries} if isinstance(dictionaries, Dictionary) else dict(dictionaries)
    where = _site(named, site)
    mean = _mean(model, tokens, where, excluded, batch_size)
    found = {name: Fidelity() for name in named}
    losses: dict[str, list[Tensor]] = {name: [] for name in named}
    kl: dict[str, list[Tensor]] = {name: [] for name in named}
    with progress(len(tokens), f"evaluating {len(named)} dictionaries") as bar:
        for part in tokens.split(batch_size):
            acts = capture(model, part, where)[where].float()
            x = acts[ordinary(acts, part, excluded=excluded)]
            for name, dictionary in named.items():
                out = dictionary(x)
                found[name].add(x, out.reconstruction, out.latents)
                if with_model:
                    its_losses, its_kl = losses_with(model, dictionary, where, part, mean, excluded)
                    losses[name].append(its_losses)
                    kl[name].append(its_kl)
            bar.advance(len(part))
    values, n_tokens = _values(named, found, losses, kl, with_model), next(iter(found.values())).n
    settings = {"site": str(where), "n_prompts": len(tokens), "n_tokens": n_tokens, "meaning": MEANING}
    source = provenance(model=identity(model), started=started)
    return DictionaryEvaluation(values=values, settings=settings, provenance=source, plots=_plots(n_tokens, with_model))


def _site(named: Mapping[str, Dictionary], site: Site | str | None) -> Site:
    if site is not None:
        return as_site(site)
    told = {dictionary.metadata.get("hook_name") for dictionary in named.values()}
    if len(told) != 1 or None in told:
        raise InputError(
            "say with site= where in the model these dictionaries belong; their metadata do not agree on it"
        )
    return as_site(str(told.pop()))


def _mean(model: Any, tokens: Tensor, site: Site, excluded: Sequence[int], batch_size: int) -> Float[Tensor, " d_in"]:
    total, n = torch.zeros(()), 0
    for part in tokens.split(batch_size):
        acts = capture(model, part, site)[site].float()
        kept = acts[ordinary(acts, part, excluded=excluded)]
        total, n = total + kept.double().sum(0).cpu(), n + len(kept)
    if not n:
        raise InputError("no token is left to measure on: all are in first place, excluded, or outliers")
    return (total / n).float()


def _values(
    named: Mapping[str, Dictionary],
    found: Mapping[str, Fidelity],
    losses: Mapping[str, list[Tensor]],
    kl: Mapping[str, list[Tensor]],
    with_model: bool,
) -> dict[str, Values]:
    rows, counts, values = [], [], {}
    names = Axis("dictionary", tuple(named))
    per_prompt = {}
    for name, dictionary in named.items():
        firing = found[name].firing
        alive = (firing > 0).to(dictionary.decoder.device)
        rows.append({**found[name].measures(), **firing_measures(firing), **direction_measures(dictionary, alive)})
        edges, count = histogram(firing)
        counts.append(count)
        if with_model:
            per_prompt[name] = _per_prompt(torch.cat(losses[name], dim=1), torch.cat(kl[name]))
            rows[-1] |= {key: float(value) for key, value in zip(FROM_RUNS, per_prompt[name].mean(1))}
    measure = Axis("measure", tuple(rows[0]))
    values["measures"] = Values(torch.tensor([list(row.values()) for row in rows]), (names, measure))
    if with_model:
        stacked = torch.stack(list(per_prompt.values()))  # [dictionary, measure, example]
        low, high = bootstrap_interval(stacked, 2)
        axes = (names, Axis("measure", FROM_RUNS))
        values |= {"runs": Values(stacked.mean(2), axes), "low": Values(low, axes), "high": Values(high, axes)}
        example = Axis("example", tuple(range(stacked.shape[2])))
        together = torch.stack([torch.cat(parts, dim=1) for parts in losses.values()])
        values["losses"] = Values(together, (names, Axis("run", RUNS), example), "nats")
    bins = Axis("log10 share", tuple(f"{float(edge):.1f}" for edge in edges[:-1]))
    values["histogram"] = Values(torch.stack(counts), (names, bins), "latents")
    return values


def _per_prompt(losses: Float[Tensor, "run example"], kl: Float[Tensor, " example"]) -> Float[Tensor, "4 example"]:
    return torch.stack([recovered(losses, "zero"), recovered(losses, "mean"), losses[1] - losses[0], kl])


def _plots(n_tokens: int, with_model: bool) -> tuple[Plot, ...]:
    table = Plot(
        "table",
        "measures",
        x="measure",
        y="dictionary",
        title="Dictionaries on held-out tokens",
        caption=f"All measures, on {n_tokens} tokens of documents that no dictionary was trained on.",
    )
    firing = Plot(
        "lines",
        "histogram",
        x="log10 share",
        series="dictionary",
        title="How often latents fire",
        caption="Latents by the share of tokens they fire on (log10); those that never fired are left out.",
        options={"y_label": "latents"},
    )
    runs = Plot(
        "bars",
        "runs",
        x="measure",
        series="dictionary",
        title="What the model makes of reconstructions",
        caption="Loss recovered against zeros and against the mean, increase of the loss, KL; 95 % intervals.",
        low="low",
        high="high",
    )
    return (table, runs, firing) if with_model else (table, firing)
