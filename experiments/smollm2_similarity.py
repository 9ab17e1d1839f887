"""What SmolLM2's layers share, and how much of that is there before any training.

    python experiments/smollm2_similarity.py

40 passages of English, 5,000 tokens, one forward pass of SmolLM2 and one of its untrained twin. Writes a run directory
with the maps and a report that begins with what they show; an interrupted run goes on where it stopped. About three
minutes of processor time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import interp
from interp.models.untrained import untrained_twin
from interp.runs import Run, open_run
from interp.similarity import Representations, SimilarityMap, compare, represent, summary
from interp.viz import Report

EVERY_FIFTH = (0, 5, 10, 15, 20, 25, 30)


def main() -> None:
    """Compute every map, or load what is there, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--n", type=int, default=40, help="passages")
    parser.add_argument("--n-tokens", type=int, default=126)
    parser.add_argument("--out", default="runs")
    options = parser.parse_args()
    settings = {"model": options.model, "n": options.n, "n_tokens": options.n_tokens, "seed": 0}
    with open_run("smollm2_similarity", settings, root=options.out) as run:
        for name, compute in questions(options.model, options.n, options.n_tokens).items():
            run.step(name, compute)
        print(report(run))


def questions(name: str, n: int, n_tokens: int) -> dict[str, Callable[[], SimilarityMap]]:
    """The steps by name; models and activations are only read for a step that is not there yet."""

    @cache
    def both() -> Representations:
        model = interp.load_model(name)
        return represent(model, interp.tasks.passage_tokens(model, n, n_tokens), untrained_twin(model))

    def one(which: int, layers: Sequence[int] | None = None) -> Representations:
        """One of the two models alone, over the very same tokens."""
        xs, labels = (both().first, both().labels) if which == 0 else (both().second, both().second_labels)
        kept = range(len(xs)) if layers is None else layers
        return replace(
            both(),
            first=tuple(xs[i] for i in kept),
            labels=tuple(labels[i] for i in kept),
            second=(),
            second_labels=(),
            models=both().models[which : which + 1],
        )

    steps: dict[str, Callable[[], SimilarityMap]] = {
        "trained": lambda: compare(one(0), "cka"),
        "trained_standardised": lambda: compare(one(0), "cka", standardise=True),
        "untrained": lambda: compare(one(1), "cka"),
        "trained_and_untrained": lambda: compare(both(), "cka"),
        "trained_neighbours": lambda: compare(one(0), "mutual_knn"),
    }
    for measure in ("svcca", "pwcca", "procrustes", "rsa"):
        steps[measure] = partial(lambda measure: compare(one(0, EVERY_FIFTH), measure), measure)
    return steps


def report(run: Run) -> Path:
    """What was found, then every map with its notes."""
    page = Report("What the layers of SmolLM2 share")
    titles = {
        "trained": "All pairs of layers",
        "trained_standardised": "Every dimension with the same variance",
        "trained_neighbours": "Nearest neighbours in common",
        "untrained": "Control: the untrained twin",
        "trained_and_untrained": "Trained against untrained",
    }
    for name, found in run.results().items():
        assert isinstance(found, SimilarityMap)
        told = " ".join(summary(found))
        if name in titles:
            page.abstract(f"{titles[name]}. {told}")
        notes = "\n\n".join([told, *found.notes])
        page.section(titles.get(name, f"Every fifth layer: {name}"), notes).add(found)
    return page.write(run.path("report.html"))


if __name__ == "__main__":
    main()
