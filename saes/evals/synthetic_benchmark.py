"""`synthetic`: train dictionaries on activations whose features are known, and see which of them they find.

>>> found = saes.evals.synthetic([saes.TopK(128, 1024, k=10), saes.BatchTopK(128, 1024, k=10)], n_tokens=2_000_000)
>>> found.sel(measure="f1").to_frame()

The one benchmark that needs no model and no download, and has right answers. Every seed is another world and another
start of the training; what is shown is the mean over seeds, and their range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.results import Axis, Plot, Result, Values
from interp.runs import progress, provenance
from saes.architectures import DictionaryConfig
from saes.evals import feature_recovery
from saes.evals.feature_recovery import Detection, recovery
from saes.evals.fidelity import fidelity
from saes.evals.firing import firing_measures
from saes.evals.known_features import KnownFeatures, Tokens, World
from saes.evals.logistic_probes import probe_ceiling
from saes.training.fitting import fit

PROBE = "logistic probe"
DETECTION = ("f1", "precision", "recall")
N_BINS = 6
MEANING = feature_recovery.MEANING | {
    "explained_variance": "1 − Σ‖x − x̂‖² / Σ‖x − mean(x)‖²",
    "l0": "mean number of active latents (the features' is settings['world']['l0'])",
    "dead": "share of latents that never fire",
}


class SyntheticEvaluation(Result):
    """measures, spread [dictionary, measure]: mean and standard deviation over seeds; see `settings["meaning"]`.

    seeds [dictionary, seed, measure]: every seed's. detection, low, high [dictionary, measure]: F1, precision, recall,
    with their least and largest over seeds, and those of logistic probes. by_rate [dictionary, rate]: F1 by how often
    features fire.
    """

    kind: ClassVar[str] = "synthetic_evaluation"


def synthetic(
    configs: DictionaryConfig | Sequence[DictionaryConfig],
    features: KnownFeatures | None = None,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    n_test: int = 20_000,
    n_probed: int = 256,
    **fit_options: Any,
) -> SyntheticEvaluation:
    """Train dictionaries on known features, one training a seed, and measure how many they find.

    n_test: tokens to measure on. n_probed: features for which probes are fitted (0: no probes). fit_options: what
    `saes.fit` takes, such as n_tokens and batch_size. Raises InputError when a width is not the features', or no
    feature fires on enough test tokens.
    """
    started = datetime.now(UTC)
    if not seeds:
        raise InputError("seeds is empty; give at least one, better three")
    if "seed" in fit_options:
        raise InputError("give seeds=(0, 1, 2), which decide the world and the training, in place of seed")
    features = features or KnownFeatures()
    wanted = [configs] if isinstance(configs, DictionaryConfig) else list(configs)
    options = {"n_tokens": 1_000_000, "batch_size": 1024} | fit_options
    found: list[dict[str, tuple[dict[str, float], Detection]]] = []
    with progress(len(seeds), "training on known features") as bar:
        for seed in seeds:
            world = replace(features, seed=features.seed + seed).build()
            run = fit(wanted, world.stream(seed), seed=seed, **options)
            tokens = world.test_tokens(n_test)
            found.append({name: _measured(d, world, tokens) for name, d in run.dictionaries.items()})
            if n_probed:
                found[-1][PROBE] = _probed(world, tokens, n_probed)
            bar.advance(1)
    settings = {
        "world": asdict(features),
        "dictionaries": [config.to_dict() for config in wanted],
        "seeds": list(seeds),
        "n_test": n_test,
        "fit": {
            name: value if isinstance(value, int | float | str) else repr(value) for name, value in options.items()
        },
        "meaning": MEANING,
    }
    source = provenance(model={"id": "known features"}, seed=seeds[0], started=started)
    values = _values(found, list(seeds))
    return SyntheticEvaluation(values=values, settings=settings, provenance=source, plots=_plots(len(seeds), n_test))


def _measured(dictionary: Any, world: World, tokens: Tokens) -> tuple[dict[str, float], Detection]:
    numbers, detected = recovery(dictionary, world, tokens)
    sums = fidelity(dictionary, tokens.x.to(dictionary.decoder.device))
    measures = sums.measures()
    numbers |= {"explained_variance": measures["explained_variance"], "l0": measures["l0"]}
    return numbers | {"dead": firing_measures(sums.firing)["dead"]}, detected


def _probed(world: World, test: Tokens, n: int) -> tuple[dict[str, float], Detection]:
    """Probes for `n` features from all over the range of rates; the others count as not counted."""
    chosen = torch.linspace(0, world.config.n_features - 1, min(n, world.config.n_features)).long().unique()
    train = world.sample(2 * len(test.x), torch.Generator().manual_seed(world.config.seed + 77))
    some = probe_ceiling(train, test, chosen)
    numbers = some.means()
    every = torch.zeros(3, world.config.n_features, dtype=torch.float64)
    every[:, chosen] = torch.stack([some.hits, some.false_alarms, some.misses])
    return numbers, Detection(*every)


def _values(found: list[dict[str, tuple[dict[str, float], Detection]]], seeds: list[int]) -> dict[str, Values]:
    names = [name for name in found[0] if name != PROBE]
    measures = tuple(found[0][names[0]][0])
    every = torch.tensor([[[each[name][0][key] for key in measures] for each in found] for name in names])
    dictionary, measure = Axis("dictionary", tuple(names)), Axis("measure", measures)
    spread = every.std(1, correction=1) if len(seeds) > 1 else torch.zeros(len(names), len(measures))
    told = [[[each[name][0][key] for key in DETECTION] for each in found] for name in found[0]]
    detected = torch.tensor(told)
    axes = (Axis("dictionary", tuple(found[0])), Axis("measure", DETECTION))
    rates, by_rate = _by_rate(found)
    return {
        "measures": Values(every.mean(1), (dictionary, measure)),
        "spread": Values(spread, (dictionary, measure)),
        "seeds": Values(every, (dictionary, Axis("seed", tuple(seeds)), measure)),
        "detection": Values(detected.mean(1), axes),
        "low": Values(detected.amin(1), axes),
        "high": Values(detected.amax(1), axes),
        "by_rate": Values(by_rate, (axes[0], Axis("rate", rates)), "F1"),
    }


def _by_rate(
    found: list[dict[str, tuple[dict[str, float], Detection]]],
) -> tuple[tuple[str, ...], Float[Tensor, "dictionary rate"]]:
    """Mean F1 of features by how often they fire, in equal numbers of features, over seeds; the most frequent last."""
    first = next(iter(found[0].values()))[1]
    fires = first.hits + first.misses
    bins = _bins(fires, first.counted)
    labels = tuple(f"{float(fires[bins == b].mean()):.0f}" for b in range(N_BINS) if (bins == b).any())
    rows = []
    for name in found[0]:
        cells = []
        for b in (b for b in range(N_BINS) if (bins == b).any()):
            parts = [each[name][1] for each in found]
            inside = [part.f1[part.counted & (_bins(part.hits + part.misses, part.counted) == b)] for part in parts]
            cells.append(torch.cat(inside).mean())
        rows.append(torch.stack(cells))
    return labels, torch.stack(rows).float()


def _bins(fires: Float[Tensor, " feature"], counted: Tensor) -> Int[Tensor, " feature"]:
    """Which of some equal parts every counted feature is in, the rarest in the first; −1 for the others."""
    bins = torch.full(fires.shape, -1)
    order = torch.where(counted, fires, torch.inf).argsort()[: int(counted.sum())]
    bins[order] = torch.arange(len(order)) * N_BINS // max(len(order), 1)
    return bins


def _plots(n_seeds: int, n_test: int) -> tuple[Plot, ...]:
    over = f"{n_seeds} seeds" if n_seeds > 1 else "one seed"
    return (
        Plot(
            "table",
            "measures",
            x="measure",
            y="dictionary",
            title="Known features found",
            caption=f"Means over {over}, each another world and another start, on {n_test} test tokens.",
        ),
        Plot(
            "bars",
            "detection",
            x="measure",
            series="dictionary",
            low="low",
            high="high",
            title="Where features fire",
            caption=f"Matched latents as statements about their features, mean over features; bars span {over}.",
            caveat="Logistic probes see the true labels: they are a ceiling for one linear read-out a feature.",
        ),
        Plot(
            "lines",
            "by_rate",
            x="rate",
            series="dictionary",
            title="Rare and frequent features",
            caption=f"Mean F1 of sixths of the features, by how many of {n_test} tokens they fire on.",
            options={"x_label": f"tokens of {n_test} a feature fires on", "y_label": "F1"},
        ),
    )
