"""The tasks on a real language model: what it is known to do, it does."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from interp.hooks import partial
from interp.tasks import induction, ioi, metrics, repeated_random_tokens, repeated_text
from interp.tasks.metric import Metric
from interp.tasks.names import IOI_NAMES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> Any:
    from interp.models import load_model

    return load_model("smollm2-135m")


def score(model: Any, tokens: torch.Tensor, metric: Metric) -> torch.Tensor:
    with torch.no_grad():
        return metric.score(partial.run(model, tokens, readout=metric.readout))


def test_indirect_objects(model: Any) -> None:
    """About 5.0 logits over all templates, and nearly always right on the simple ones; the S2 flip turns it around."""
    task = ioi(model, n=60, corruption="s2")
    assert len(task.settings["names"]) == len(IOI_NAMES)
    assert bool((task.clean != task.corrupt).sum(1).eq(1).all())
    clean = score(model, task.clean, task.metric)
    assert 4.3 < float(clean.mean()) < 5.7
    assert float(score(model, task.corrupt, task.corrupt_metric).mean()) < -3.5
    simple = torch.tensor([group.split("-")[1] in ("0", "1", "2", "5", "8", "11") for group in task.groups])
    assert float((clean > 0)[simple].float().mean()) >= 0.95
    assert torch.equal(score(model, task.clean, metrics.accuracy(task)), (clean > 0).float())


def test_random_repetition(model: Any) -> None:
    """Loss 14.5 nats on the first copy and 3.3 on the second."""
    tokens = repeated_random_tokens(model, n=8, length=50)
    with torch.no_grad():
        losses = metrics.token_losses(partial.run(model, tokens), tokens)
    assert float(losses[:, :49].mean()) == pytest.approx(14.5, abs=0.7)
    assert float(losses[:, 49:].mean()) == pytest.approx(3.3, abs=1.0)
    task = induction(model, n=8)
    assert float(score(model, task.clean, task.metric).min()) > 2.0
    assert abs(float(score(model, task.corrupt, task.metric).mean())) < 3.0


def test_repeated_text(model: Any) -> None:
    task = repeated_text(model, n=10)
    assert float(score(model, task.clean, task.metric).min()) > 3.0
    lost = task.with_metric("loss")
    gain = score(model, task.corrupt, lost.metric) - score(model, task.clean, lost.metric)
    assert float(gain.mean()) > 2.0


def test_kl_to_clean(model: Any) -> None:
    task = ioi(model, n=6, corruption="abc")
    kl = task.with_metric("kl_to_clean", model=model)
    assert float(score(model, task.clean, kl.metric).abs().max()) < 1e-3
    assert float(score(model, task.corrupt, kl.metric).min()) > 1e-2
