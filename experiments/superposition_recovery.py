"""Do dictionaries find the features of a toy model in superposition? There the true features are known.

    python experiments/superposition_recovery.py

Trains toy models (x' = ReLU(WᵀWx + b), 64 equal features in 16 dimensions) at several sparsities, trains sparse
dictionaries on their hidden activations Wx, and compares latents with the columns of W: the way out of superposition
that Elhage et al. 2022 propose ("The Strategic Picture of Superposition"), with controls. Writes a run directory with a
report; an interrupted run goes on where it stopped. About two minutes of processor time.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import ClassVar

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

import saes
from interp.results import Axis, Plot, Result, Values, interval_words, mean_with_interval
from interp.runs import Run, open_run, provenance
from interp.superposition import ToyModels, train
from interp.superposition.polytope_groups import REPRESENTED
from interp.superposition.sampling import Draws
from interp.viz import Report
from saes.evals.feature_recovery import detection, match

N_FEATURES, N_HIDDEN = 64, 16
SPARSITIES = (0.8, 0.9, 0.95, 0.98, 0.99)
N_TOKENS, N_TEST = 200_000, 20_000
MEASURES = {
    "best_cosine": "mean over represented features of the largest cosine with any latent's direction",
    "recovered": "share of represented features whose matched latent has a cosine over 0.9",
    "f1": "how well the matched latent says where the feature is present (harmonic mean of precision and recall)",
    "explained_variance": "of the activations, by the dictionary",
}
TITLES = {"best_cosine": "Are the features among the latents?", "f1": "Do latents say when features are there?"}
RANDOM = "128 random directions"
PRINCIPAL = "principal components"


class FeatureRecovery(Result):
    """best_cosine, recovered, f1, explained_variance [dictionary, sparsity, seed] (of one seed without that axis): see
    `settings["meaning"]`; with _mean, _low, _high [dictionary, sparsity]: over seeds.
    """

    kind: ClassVar[str] = "superposition_recovery"


def main() -> None:
    """Train toys and dictionaries, or load what is there, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--n-tokens", type=int, default=N_TOKENS)
    parser.add_argument("--out", default="runs")
    options = parser.parse_args()
    settings = {"n_seeds": options.seeds, "n_tokens": options.n_tokens, "sparsity": list(SPARSITIES)}
    with open_run("superposition_recovery", settings, root=options.out) as run:
        toys = run.step("toys", lambda: toy_models(options.seeds))
        assert isinstance(toys, ToyModels)
        parts = {}
        for seed in toys.values["loss"].axis("seed").labels:
            part = run.step(f"seed-{seed}", partial(recover, toys, int(seed), options.n_tokens))
            assert isinstance(part, FeatureRecovery)
            parts[int(seed)] = part
        found = run.step("recovery", lambda: combine(parts))
        assert isinstance(found, FeatureRecovery)
        print(table(found).to_string(index=False, float_format=lambda x: f"{x:.2f}"))
        print(report(run, toys, found))


def toy_models(n_seeds: int) -> ToyModels:
    """The models whose activations are to be explained."""
    return train(N_FEATURES, N_HIDDEN, sparsity=SPARSITIES, importance=1.0, n_seeds=n_seeds, n_steps=4000)


def kinds(l0: float) -> dict[str, saes.architectures.DictionaryConfig]:
    """What is trained, where so many features are present at once."""
    k = max(1, round(l0))
    return {
        "TopK, 64 latents": saes.TopK(N_HIDDEN, N_FEATURES, k=k),
        "TopK, 128 latents": saes.TopK(N_HIDDEN, 2 * N_FEATURES, k=k),
        "TopK, 128 latents, 2k": saes.TopK(N_HIDDEN, 2 * N_FEATURES, k=2 * k),
        "Standard, 128 latents, l1 2": saes.Standard(N_HIDDEN, 2 * N_FEATURES, l1_coefficient=2.0),
        "Standard, 128 latents, l1 4": saes.Standard(N_HIDDEN, 2 * N_FEATURES, l1_coefficient=4.0),
    }


def recover(toys: ToyModels, seed: int, n_tokens: int) -> FeatureRecovery:
    """Train dictionaries on the activations of every model of a seed, and hold them against its features."""
    started = datetime.now(UTC)
    found = [_one(toys, sparsity, seed, n_tokens) for sparsity in SPARSITIES]
    names = list(found[0])
    axes = (Axis("dictionary", tuple(names)), toys.values["loss"].axes[0])
    values = {}
    for measure, meaning in MEASURES.items():
        data = [[one[name].get(measure, float("nan")) for one in found] for name in names]
        values[measure] = Values(torch.tensor(data), axes, description=meaning)
    return FeatureRecovery(
        values=values,
        settings={"n_tokens": n_tokens, "n_test": N_TEST, "meaning": MEASURES, "toys": dict(toys.settings)},
        provenance=provenance(model=toys.provenance.model, seed=seed, started=started),
    )


def combine(parts: Mapping[int, FeatureRecovery]) -> FeatureRecovery:
    """The results of several seeds as one, with means and intervals over them."""
    seeds = Axis("seed", tuple(parts))
    first = next(iter(parts.values()))
    values = {}
    for measure, meaning in MEASURES.items():
        data = torch.stack([part.values[measure].data for part in parts.values()], -1)
        values[measure] = Values(data, (*first.values[measure].axes, seeds), description=meaning)
        values |= {f"{measure}_{end}": part for end, part in mean_with_interval(values[measure], over="seed").items()}
    plots = tuple(_plot(name, len(parts)) for name in ("best_cosine", "f1"))
    return FeatureRecovery(values=values, settings=first.settings, provenance=first.provenance, plots=plots)


def table(found: FeatureRecovery) -> pd.DataFrame:
    """A row for each dictionary and sparsity, means over seeds."""
    frames = {measure: found.to_frame(f"{measure}_mean") for measure in MEASURES}
    first = frames["best_cosine"][["dictionary", "sparsity"]]
    return first.assign(**{measure: frame["value"] for measure, frame in frames.items()})


def report(run: Run, toys: ToyModels, found: FeatureRecovery) -> Path:
    """What the toys look like, and which of their features were found."""
    page = Report("Dictionaries on toy models in superposition", "Which of the known features they find")
    page.section("The toy models", "\n\n".join(toys.notes)).add(toys.table(), caption="The models, in numbers.")
    page.section("Recovery").add(table(found), caption="Means over seeds.").add(found)
    return page.write(run.path("report.html"))


def _one(toys: ToyModels, sparsity: float, seed: int, n_tokens: int) -> dict[str, dict[str, float]]:
    """By dictionary (and control) the measures for one toy model."""
    matrix = toys.weights(sparsity, seed)
    there = matrix.square().sum(0) >= REPRESENTED
    source = Draws(torch.tensor([1 - sparsity]), N_FEATURES)
    train_x = _inputs(source, n_tokens, 1000 + seed)
    test_x = _inputs(source, N_TEST, 2000 + seed)
    hidden, active = test_x @ matrix.T, (test_x > 0)[:, there]
    wanted = kinds((1 - sparsity) * float(there.sum()))
    out = {}
    run = saes.fit(list(wanted.values()), train_x @ matrix.T, n_tokens=n_tokens, batch_size=512, seed=seed)
    for name, dictionary in zip(wanted, run.dictionaries.values(), strict=True):
        latents = dictionary.encode(hidden).detach()
        left = (hidden - dictionary.decode(latents).detach()).square().sum()
        out[name] = _compared(dictionary.decoder.detach(), latents, matrix[:, there], active)
        out[name]["explained_variance"] = 1 - float(left / (hidden - hidden.mean(0)).square().sum())
    random = torch.randn(2 * N_FEATURES, N_HIDDEN, generator=torch.Generator().manual_seed(seed))
    components = torch.linalg.svd(hidden - hidden.mean(0), full_matrices=False).Vh
    for name, directions in ((RANDOM, random), (PRINCIPAL, torch.cat([components, -components]))):
        out[name] = _compared(directions, None, matrix[:, there], active)
    return out


def _inputs(source: Draws, n: int, seed: int) -> Float[Tensor, "token feature"]:
    return source.batch([torch.Generator().manual_seed(seed)], n).x[0, 0]


@torch.no_grad()
def _compared(
    decoder: Float[Tensor, "latent hidden"],
    latents: Float[Tensor, "token latent"] | None,
    features: Float[Tensor, "hidden feature"],
    active: Bool[Tensor, "token feature"],
) -> dict[str, float]:
    """Directions against the features' own; where latents are given, also when they fire."""
    chosen, cosine, best = match(decoder, features.T)
    found = {"best_cosine": float(best.mean()), "recovered": float((cosine > 0.9).float().mean())}
    if latents is None:
        return found
    said = (latents[:, chosen.clamp_min(0)] > 0) & (chosen >= 0)
    return found | {"f1": detection(said, active).means()["f1"]}


def _plot(measure: str, n_seeds: int) -> Plot:
    control = (
        "; random directions and principal components (both signs) are controls" if measure == "best_cosine" else ""
    )
    return Plot(
        "lines",
        f"{measure}_mean",
        x="sparsity",
        series="dictionary",
        low=f"{measure}_low",
        high=f"{measure}_high",
        title=TITLES[measure],
        caption=f"{MEASURES[measure].capitalize()}, by sparsity of the toy model's features; "
        f"{interval_words(n_seeds, 'seeds')}{control}.",
        options={"x_label": "sparsity S", "y_label": measure.replace("_", " "), "y_range": [0, 1.02]},
    )


if __name__ == "__main__":
    main()
