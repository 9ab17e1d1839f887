"""Pairs of prompts, and the search for the subspace whose exchange between them exchanges their answers.

The search itself is TransformerLens's `fit_das`. It is given indices of examples as inputs, and a function that runs
the model from the changed token and block on: what comes before is run once for all steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.tools.analysis import interchange

from interp.errors import InputError
from interp.hooks.readout import Readout
from interp.hooks.sites import Site
from interp.probing.causal.preparing import Prepared
from interp.probing.causal.stages import Stage, entry

LEARNING_RATE = 0.02
PAIRS_A_STEP = 32


@dataclass(frozen=True, eq=False)
class Pairs:
    """Bases and sources as indices of a pool of examples, and the class of each source."""

    base: Int[Tensor, " pair"]
    source: Int[Tensor, " pair"]
    target: Int[Tensor, " pair"]


def partners(labels: Int[Tensor, " example"], same: bool, seed: int) -> Int[Tensor, " example"]:
    """For every example another of its own class, or of another class, at random.

    Of a class with one example that one itself.
    """
    generator = torch.Generator().manual_seed(seed)
    found = torch.empty_like(labels)
    for i, label in enumerate(labels.tolist()):
        fits = (labels == label) if same else (labels != label)
        if same and int(fits.sum()) > 1:
            fits[i] = False
        choices = fits.nonzero()[:, 0]
        found[i] = choices[torch.randint(len(choices), (1,), generator=generator)]
    return found


def training_pairs(prepared: Prepared, n_pairs: int) -> tuple[Int[Tensor, " example"], Pairs]:
    """A pool of fitted examples and pairs of them, every other pair of one class."""
    seed = prepared.question.seed
    fitted = prepared.fitted.nonzero()[:, 0]
    order = torch.randperm(len(fitted), generator=torch.Generator().manual_seed(seed))
    pool = fitted[order[:n_pairs]]
    labels = prepared.data.labels[pool]
    if len(labels.unique()) < 2:
        raise InputError(f"{n_pairs} training pairs hold one class only; use more with n_pairs")
    same, other = partners(labels, True, seed), partners(labels, False, seed)
    base = torch.arange(len(pool))
    source = torch.where(base % 2 == 0, other, same)
    return pool, Pairs(base, source, labels[source])


class Search:
    """The search at the sites of a task, on pairs of fitted examples, every other pair of one class."""

    def __init__(self, prepared: Prepared, n_pairs: int) -> None:
        pool, self.pairs = training_pairs(prepared, n_pairs)
        self.prepared = prepared
        whole = prepared.places(pool)
        self.stage = Stage(prepared.model, whole, prepared.sites, batch_size=len(pool))
        (self.chunk,) = self.stage.chunks
        self.row = self.chunk.rows.argsort()
        self.where = whole.at - self.chunk.offset

    def class_logits(self, site: Site) -> Callable[[Int[Tensor, " row"]], Float[Tensor, "row class"]]:
        """Mean logit of the answers of each class, for examples of the pool by index, from the site's block on."""
        answers = self.prepared.answers
        assert answers is not None
        places = self.stage.places

        def logits(examples: Int[Tensor, " row"]) -> Float[Tensor, "row class"]:
            device = self.chunk.tokens.device
            columns = answers.columns.to(device).expand(len(examples), -1)
            readout = Readout(places.read[examples][:, None].to(device), columns)
            part = self.chunk.of_rows(self.row[examples])
            return answers.by_class(self.stage.resumed(part, site, readout), self.prepared.n_classes)

        return logits

    def fit(self, site: Site, targets: Int[Tensor, " pair"], rank: int, epochs: int) -> interchange.DASResult:
        """The basis that makes exchanges at a site give the targets."""
        pairs = self.pairs
        return interchange.fit_das(
            self.prepared.model,
            str(entry(self.prepared.model, site)),
            pairs.base,
            pairs.source,
            targets,
            self.class_logits(site),
            rank=rank,
            base_positions=self.where[pairs.base],
            source_positions=self.where[pairs.source],
            epochs=epochs,
            batch_size=PAIRS_A_STEP,
            lr=LEARNING_RATE,
            seed=self.prepared.question.seed,
        )

    @torch.no_grad()
    def fitted_accuracy(self, layer: int, basis: Tensor, targets: Int[Tensor, " pair"]) -> float:
        """Share of the training pairs whose exchange gives the target."""
        site, states = self.prepared.sites[layer], self.stage.states[layer]
        step = interchange.SubspaceInterchange(basis)
        source = states[self.pairs.source]
        assert self.prepared.answers is not None
        logits = self.stage.logits(site, lambda old, rows: step(old, source[rows]), self.prepared.answers.columns)
        found = self.prepared.answers.by_class(logits, self.prepared.n_classes).argmax(1).cpu()
        return float((found == targets).float().mean())
