"""What SmolLM2-135M-Instruct writes on indirect objects, as measured before this project was written."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import interp
from interp.lens import direct_attribution, logit_lens
from interp.models import load_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model("smollm2-135m")


@pytest.fixture(scope="module")
def task(model: Any) -> Any:
    return interp.tasks.ioi(model, n=32, seed=0)


def test_name_movers_and_negative_heads(model: Any, task: Any) -> None:
    result = direct_attribution(model, task, by="head")
    known = {(23, 3): 2.11, (29, 1): 1.28, (23, 0): 0.92, (24, 4): -1.07, (29, 0): -0.85}
    found = result.values["contribution"].data
    for (layer, head), expected in known.items():
        assert found[layer, head].item() == pytest.approx(expected, abs=0.35)
    frame = result.top(5)
    assert set(zip(frame["layer"], frame["head"])) == set(known)
    total = result.values["total"].data
    torch.testing.assert_close(found.sum() + result.values["rest"].data.sum(), total, atol=1e-3, rtol=1e-3)
    assert result.values["error"].data < 1e-3


def test_heads_copy_from_the_names(model: Any, task: Any) -> None:
    sources = direct_attribution(model, task, by="source", heads=["23.0", "24.4"]).values["contribution"]
    assert sources.sel(head="23.0", source="IO").data > 0.5
    assert sources.sel(head="24.4", source="IO").data < -0.5


def test_the_lens_ends_at_the_task_s_metric_and_the_answer_on_top(model: Any, task: Any) -> None:
    result = logit_lens(model, task)
    with torch.no_grad():
        metric = task.metric(model(torch.Tensor(task.clean).long()))
    torch.testing.assert_close(result.values["per_prompt"].data[:, -1], metric, atol=1e-3, rtol=1e-3)
    assert result.values["logit_difference"].data[-1].item() == pytest.approx(4.8, abs=0.6)
    assert result.values["rank"].sel(layer=30, target="answer").data == 0
    # Nothing is decided before the name movers of layer 23.
    assert result.values["rank"].sel(layer=23, target="answer").data > 100


def test_a_look_at_one_prompt(model: Any) -> None:
    seen = interp.look(model, "When Mary and John went to the store, John gave a drink to", distractor=" John")
    assert seen.texts["target"] == [" Mary"]
    assert seen.settings["heads"][:2] == ["23.3", "29.1"]
    view = seen.neuron_view("23.3")
    attention = seen.values["pattern"].sel(head="23.3").data[-1]
    torch.testing.assert_close(view.data.sum(-1).softmax(-1), attention, atol=1e-4, rtol=1e-3)
    assert seen.values["total"].data.item() == pytest.approx(6.12, abs=0.05)
