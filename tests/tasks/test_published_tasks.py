"""The published tasks on a real language model: what it can do, and the structures in which it fails."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from interp.hooks import partial
from interp.hooks.readout import Readout
from interp.tasks import (
    Behaviour,
    behaviour,
    capital_country,
    docstring,
    gendered_pronoun,
    greater_than,
    subject_verb_agreement,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> Any:
    from interp.models import load_model

    return load_model("smollm2-135m")


def mean(result: Behaviour, measure: str, side: str = "clean") -> float:
    return float(result.sel(measure=measure, side=side).values["mean"].data)


MEASURES = ("logit_difference", "accuracy", "probability_difference")


def test_greater_than_over_the_next_digit(model: Any) -> None:
    """SmolLM2 splits digits. Given the decade of the first year, it gives the same or a later one."""
    with pytest.raises(ValueError, match="two tokens of two digits"):
        greater_than(model, n=4, variant="two-digit")
    task = greater_than(model, n=42)
    assert task.settings["variant"] == "next-digit"
    found = behaviour(model, task, MEASURES)
    assert 0.4 < mean(found, "probability_difference") < 0.7
    assert mean(found, "probability_difference", "corrupt") < -0.5
    assert mean(found, "accuracy") > 0.95


def test_docstring(model: Any) -> None:
    """Right in most prompts; without the names to find, never."""
    found = behaviour(model, docstring(model, n=32), MEASURES)
    assert 5.5 < mean(found, "logit_difference") < 8
    assert mean(found, "accuracy") > 0.75
    assert mean(found, "logit_difference", "corrupt") < -1.5
    assert mean(found, "accuracy", "corrupt") < 0.1


def test_gendered_pronoun(model: Any) -> None:
    """Always right, more surely so for women's names; undecided about "That person"."""
    found = behaviour(model, gendered_pronoun(model, n=40), MEASURES)
    assert 4.3 < mean(found, "logit_difference") < 5.8
    assert mean(found, "logit_difference", "corrupt") == pytest.approx(-mean(found, "logit_difference"), abs=0.8)
    assert mean(found, "accuracy") > 0.97
    by_gender = found.values["logit_difference_by_group"].data.mean(1)
    assert float(by_gender[1] - by_gender[0]) > 1.5
    neutral = behaviour(model, gendered_pronoun(model, n=20, corruption="person"), MEASURES)
    of_pairs = neutral.sel(measure="logit_difference", side="corrupt").values["per_example"].data
    assert float(of_pairs.abs().mean()) < 1.5


@pytest.mark.parametrize(("structure", "lowest"), [("simple", 0.95), ("within_rc", 0.95), ("across_pp", 0.75)])
def test_agreement(model: Any, structure: str, lowest: float) -> None:
    """Right beside its subject, outside a clause or inside; mostly right across a prepositional phrase."""
    found = behaviour(model, subject_verb_agreement(model, n=80, structures=[structure]), MEASURES)
    assert float(found.values["accuracy_by_group"].data.min()) >= lowest
    assert mean(found, "logit_difference") > 1.5
    assert mean(found, "logit_difference", "corrupt") < -1.5


def test_agreement_fails_across_a_relative_clause(model: Any) -> None:
    """A plural subject with a singular noun in between (The boys that the girl likes): no better than chance."""
    found = behaviour(model, subject_verb_agreement(model, n=160, structures=["across_rc"]), MEASURES)
    groups = found.values["accuracy_by_group"]
    accuracy = dict(zip((str(label).split("-")[1] for label in groups.axes[0].labels), groups.data.tolist()))
    assert 0.3 < accuracy.pop("plural_singular") < 0.7
    assert min(accuracy.values()) > 0.75


def test_capitals(model: Any) -> None:
    found = behaviour(model, capital_country(model, n=48), MEASURES)
    assert 9 < mean(found, "logit_difference") < 13
    assert mean(found, "accuracy") > 0.95
    assert mean(found, "logit_difference", "corrupt") < -9


def test_where_the_digit_goes(model: Any) -> None:
    """The digit that is neither right nor wrong takes much of the probability: the task measures what is left."""
    task = greater_than(model, n=28)
    with torch.no_grad():
        p = partial.run(model, task.clean, readout=Readout(task.positions["end"][:, None], None)).softmax(-1)
    tens = task.clean.gather(1, task.positions["tens"][:, None]).as_subclass(torch.Tensor)
    same = p.gather(1, tens)[:, 0]
    neutral = torch.tensor([not bool((row == t).any()) for row, t in zip(task.distractors, tens[:, 0])])
    assert 0.3 < float(same[neutral].mean()) < 0.6
    later = torch.stack([p[i, row[row >= 0]].sum() for i, row in enumerate(task.answers)])
    assert float((same + later)[neutral].mean()) > 0.9
