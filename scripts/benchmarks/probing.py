"""Logistic probes of every layer against a loop of scikit-learn over the layers, in turn, layer lot by layer lot.

    python scripts/benchmarks/probing.py --every 1 --n 2000

Both do what one training part of `interp.probing.fit` needs: choose among nine penalties by three grouped folds
(`LogisticRegressionCV` there), then fit the task, a control task and five shuffles with the chosen penalty. Prints
CPU seconds of both, their ratio, and the largest difference of the held-out log-loss; then the same for a single fit,
where there is nothing to share. Both read the same standardised float32 activations; scikit-learn keeps its default
tolerance, which is looser than ours.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from torch import Tensor

import interp
from interp.hooks import sites
from interp.probing import dataset
from interp.probing.controls import control_labels, shuffled_labels
from interp.probing.gathering import gather
from interp.probing.solving.calibrating import losses
from interp.probing.solving.decorrelating import decorrelate
from interp.probing.solving.families import GRID, Family
from interp.probing.splitting import grouped_folds, numbered
from interp.probing.validating import Design, choose_penalty, fit_variants

LOT = 4
INNER = 3
N_SHUFFLES = 5


def main() -> None:
    """Run both on every lot of layers and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--task", default="next_token", help="a task of interp.probing (default next_token)")
    parser.add_argument("--n", type=int, default=3000, help="examples (default 3000)")
    parser.add_argument("--every", type=int, default=1, help="every so many layers (default 1: all)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")  # scikit-learn's about iterations and names of attributes
    model = interp.load_model(options.model)
    data = dataset(model, options.task, n=options.n, seed=0)
    work = Work(data)
    layers = list(range(0, int(model.cfg.n_layers), options.every))
    print(f"{options.model}, {options.task}: {len(data)} examples, {len(data.classes)} classes, {len(layers)} layers")
    x = gather(model, data, [sites.resid_post(layer) for layer in layers])[0]
    spent = np.zeros(4)
    worst = 0.0
    for begin in range(0, len(layers), LOT):
        times, difference = work.compared(x[begin : begin + LOT])
        spent, worst = spent + times, max(worst, difference)
        print(f"layers {layers[begin : begin + LOT]}: {summary(times)}; difference {difference:.0e} nats", flush=True)
    print(f"all: {summary(spent)}; largest difference of the held-out log-loss {worst:.1e} nats")


def summary(times: Any) -> str:
    """Seconds of both and their ratio, for the whole and for a single fit."""
    ours, theirs, our_single, their_single = times
    return (
        f"choosing and fitting {ours:.2f} s, scikit-learn {theirs:.2f} s, {theirs / ours:.1f}x; "
        f"single fits {our_single:.2f} s, {their_single:.2f} s, {their_single / our_single:.1f}x"
    )


class Work:
    """The folds and labels that both fit."""

    def __init__(self, data: Any) -> None:
        groups = numbered(data.groups)
        folds = grouped_folds(data.labels, groups, 4, 0)
        self.train, self.labels = folds != 0, data.labels
        within = numbered([str(group) for group in groups[self.train].tolist()])
        self.inner = grouped_folds(data.labels[self.train], within, INNER, 0)
        control, _ = control_labels(data.labels, data.types, folds, 0)
        shuffles = shuffled_labels(data.labels, N_SHUFFLES, 0)
        self.variants = torch.cat([data.labels[None], control[None], shuffles])[:, self.train]
        order = torch.arange(int(self.train.sum()))
        n_classes = len(data.classes)
        self.design = Design(self.variants, self.variants, self.inner, self.inner[None], order, 2, n_classes, GRID)

    def compared(self, x: Tensor) -> tuple[Any, float]:
        """CPU seconds [ours, theirs, our single fit, their single fit] for some layers, and the largest difference."""
        (coordinates, rows, l2), ours = timed(lambda: self.chosen(x))
        fitted, our_fits = timed(lambda: self.fitted(rows, coordinates, l2, self.variants))
        _, our_single = timed(lambda: self.fitted(*self.decorrelated(x)[::-1], l2, self.variants[:1]))
        held_out = coordinates.of(x[:, ~self.train])
        labels = self.labels[~self.train]
        our_loss = losses(fitted.logits(held_out)[:, :1], labels[None]).mean((1, 2))
        theirs = their_single = worst = 0.0
        for i in range(len(x)):
            scaled = ((x[i] - coordinates.mean[i]) / coordinates.std[i]).numpy()
            known, penalty = scaled[self.train.numpy()], float(l2[i])
            _, choosing = timed(lambda known=known: self.their_choice(known))
            (probe, *_), fits = timed(
                lambda known=known, c=penalty: [self.their_fit(known, y, c) for y in self.variants]
            )
            _, single = timed(lambda known=known, c=penalty: self.their_fit(known, self.variants[0], c))
            theirs, their_single = theirs + choosing + fits, their_single + single
            log_probs = probe.predict_log_proba(scaled[~self.train.numpy()])
            their_loss = -log_probs[np.arange(len(labels)), labels].mean()
            worst = max(worst, abs(float(our_loss[i]) - float(their_loss)))
        return np.array([ours + our_fits, theirs, our_single, their_single]), worst

    def decorrelated(self, x: Tensor) -> tuple[Any, Tensor]:
        """Coordinates and the training rows in them."""
        coordinates = decorrelate(x, self.train)
        return coordinates, coordinates.of(x[:, self.train])

    def chosen(self, x: Tensor) -> tuple[Any, Tensor, Tensor]:
        """Ours: coordinates, rows, and the penalty of every layer."""
        coordinates, rows = self.decorrelated(x)
        family, labels = Family("logistic"), self.variants[0]
        l2, _ = choose_penalty(family, rows, labels, self.inner, coordinates.variance, self.design)
        return coordinates, rows, l2

    def fitted(self, rows: Tensor, coordinates: Any, l2: Tensor, variants: Tensor) -> Any:
        """Ours: probes of some variants."""
        n_classes = self.design.n_classes
        return fit_variants(Family("logistic"), rows, variants, self.inner, coordinates.variance, l2, n_classes)

    def their_choice(self, known: Any) -> Any:
        """scikit-learn's choice of a penalty at one layer."""
        parts = [(np.flatnonzero(self.inner != k), np.flatnonzero(self.inner == k)) for k in range(INNER)]
        inverse = [1 / (l2 * len(known) * (1 - 1 / INNER)) for l2 in GRID]
        cv = LogisticRegressionCV(Cs=inverse, cv=parts, scoring="neg_log_loss", max_iter=5000, refit=False)
        return cv.fit(known, self.variants[0].numpy())

    def their_fit(self, known: Any, labels: Tensor, l2: float) -> Any:
        """One fit of scikit-learn."""
        return LogisticRegression(C=1 / (l2 * len(known)), max_iter=5000).fit(known, labels.numpy())


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its CPU seconds."""
    began = time.process_time()
    found = work()
    return found, time.process_time() - began


if __name__ == "__main__":
    main()
