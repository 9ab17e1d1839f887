"""What every causal test begins with: examples that fit and others that test, their states, and unrelated text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.errors import InputError, unknown
from interp.hooks.sites import Site
from interp.probing.causal.answers import Answers, AnswerTokens, answer_tokens
from interp.probing.causal.places import ENGLISH, Places, task_places, text_places
from interp.probing.causal.stages import Stage
from interp.probing.datasets.catalogue import dataset
from interp.probing.gathering import gather, kinds_of, width
from interp.probing.labelled import LabelledTokens
from interp.probing.splitting import check_classes, check_duplicates, grouped_folds, numbered
from interp.runs import progress

FOLDS = 3
"""A third of the groups is held out, and tests."""
N_LAYERS = 6
"""Layers that are asked by default."""


@dataclass(frozen=True)
class Question:
    """What is asked, the same for every method.

    site, layers: where the state is changed (default: six layers, spread out). position: the named position (default:
    the last one). answers: see `Answers` (default: the task's own, if it has any). n: examples of a task of the house.
    n_test: held-out examples that are run, and tokens of unrelated text, as many. text: "english", "random", a .txt
    file or a folder. batch_size: prompts a forward pass.
    """

    site: str = "resid_post"
    layers: Sequence[int] | None = None
    position: str | None = None
    answers: Answers | None = None
    n: int = 1200
    n_test: int = 120
    text: str | Path = ENGLISH
    seed: int = 0
    batch_size: int = 128


def asked_question(options: Mapping[str, Any], *own: str) -> Question:
    """The question that keyword arguments ask; own: the other names that the function takes, for the error.

    Raises InputError with the nearest names for one that is not there.
    """
    names = [one.name for one in fields(Question)]
    for name in options:
        if name not in names:
            raise unknown("option", name, [*names, *own], limit=20)
    return Question(**options)


Refusal = Callable[[LabelledTokens, AnswerTokens | None, int], None]
"""Raises InputError for examples, answers, or the width of the states, that a method cannot use."""


def check_fits(name: str, rank: int, width: int) -> None:
    """Refuse more directions than states have; name: the option's."""
    if not 1 <= rank <= width:
        raise InputError(f"{name}={rank} does not fit: activations here have {width} dimensions; use 1 to {width}")


@dataclass(frozen=True, eq=False)
class Prepared:
    """Examples of one position with their states [layer, example, feature], split by groups, and answers if any.

    fitted: examples that methods learn from. test: held-out examples that are run.
    """

    model: Any
    data: LabelledTokens
    position: str
    sites: tuple[Site, ...]
    layers: tuple[int, ...]
    x: Float[Tensor, "layer example feature"]
    groups: Int[Tensor, " example"]
    fitted: Bool[Tensor, " example"]
    test: Int[Tensor, " test"]
    answers: AnswerTokens | None
    question: Question

    @property
    def n_classes(self) -> int:
        """Classes of the task."""
        return len(self.data.classes)

    def places(self, index: Int[Tensor, " place"]) -> Places:
        """Some examples, with where they are changed and read."""
        appended = self.answers.appended if self.answers else ()
        return task_places(self.model, self.data, appended, at_end=self.answers is not None).rows(index)

    def stage(self, index: Int[Tensor, " place"]) -> Stage:
        """Some examples, ready to be changed."""
        return Stage(self.model, self.places(index), self.sites, self.question.batch_size)

    def text(self, tested: Places) -> tuple[Stage, str]:
        """As many tokens of unrelated text, the prediction read as far behind the change, and what the text is."""
        reach = int((tested.read - tested.at).float().median())
        places, name = text_places(self.model, len(tested), reach, self.question.seed, self.question.text)
        return Stage(self.model, places, self.sites, self.question.batch_size), name

    def describe(self) -> dict[str, Any]:
        """Settings that every result states."""
        return {
            "site": self.question.site,
            "layers": list(self.layers),
            "position": self.position,
            "classes": list(self.data.classes),
            "n": len(self.data),
            "n_fitted": int(self.fitted.sum()),
            "n_test": len(self.test),
            "group_is": self.data.group_is,
            "answers": {name: list(words) for name, words in self.answers.words.items()} if self.answers else None,
            "after": self.answers.after if self.answers else "",
            "after_tokens": list(self.answers.appended) if self.answers else [],
            "seed": self.question.seed,
        }


def prepare(model: Any, data: LabelledTokens | str, question: Question, refuse: Refusal | None = None) -> Prepared:
    """Make or take the examples, split them by groups, and read their states at every layer.

    refuse: what a method cannot use, which is asked before states are read.
    Raises InputError for one class only, too few groups, leaks between groups, sites and positions that are not there.
    """
    examples = dataset(model, data, n=question.n, seed=question.seed) if isinstance(data, str) else data
    (kind,) = kinds_of(model, question.site, question.layers or spread(int(model.cfg.n_layers)))
    examples, position = _at(examples, question.position)
    groups = numbered(examples.groups)
    check_classes(examples, groups, FOLDS, examples.group_is)
    check_duplicates(examples, groups, examples.group_is)
    fitted = grouped_folds(examples.labels, groups, FOLDS, question.seed) != 0
    held_out = (~fitted).nonzero()[:, 0]
    if question.n_test < 1:
        raise InputError(f"n_test={question.n_test} examples test nothing; use at least 1")
    generator = torch.Generator().manual_seed(question.seed)
    test = held_out[torch.randperm(len(held_out), generator=generator)[: question.n_test]].sort().values
    answers = answer_tokens(model, examples, question.answers)
    if refuse is not None:
        refuse(examples, answers, width(model, kind.sites[0]))
    with progress(1, "reading activations") as bar:
        x = gather(model, examples, kind.sites, question.batch_size)[0]
        bar.advance(1)
    sites = tuple(site for site in kind.sites if isinstance(site, Site))
    return Prepared(model, examples, position, sites, kind.layers, x, groups, fitted, test, answers, question)


def spread(n_layers: int) -> list[int]:
    """Some layers from the first to the last."""
    return sorted({round(i * (n_layers - 1) / (N_LAYERS - 1)) for i in range(N_LAYERS)})


def _at(data: LabelledTokens, position: str | None) -> tuple[LabelledTokens, str]:
    """The examples with one of their named positions only."""
    names = list(data.positions)
    if position is not None and position not in names:
        raise unknown("position", position, names)
    chosen = names[-1] if position is None else position
    return replace(data, positions={chosen: data.positions[chosen]}), chosen
