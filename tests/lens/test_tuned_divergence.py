"""The loss of the tuned lens, against its definition in float64 and against numerical derivatives."""

from __future__ import annotations

import pytest
import torch

from interp.errors import InputError
from interp.lens import tuned_divergence
from interp.lens.tuned_divergence import Columns, Target, Unembedding, divergence, divergence_by_hand
from tests.tiny_models import TINY, tiny, tiny_gpt2


def streams(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, 48, generator=torch.Generator().manual_seed(seed)) * 2


@pytest.mark.parametrize("name", TINY)
def test_it_is_the_kl_divergence_of_what_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuned_divergence, "CHUNK_BYTES", 4 * 100 * 3)  # three rows at a time
    model = tiny(name)
    final, vectors = streams(0, 5), streams(1, 2, 5)

    def read(residual: torch.Tensor) -> torch.Tensor:
        logits = model.ln_final(residual[None])[0] @ model.W_U + model.b_U
        return model.adapter.apply_output_logits_transform(logits).double().log_softmax(-1)

    head = Unembedding.of(model)
    found = divergence(head, vectors, Target.of(head, final))
    expected = torch.stack([(read(final).exp() * (read(final) - read(part))).sum(-1) for part in vectors])
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-4)
    same = divergence(head, final, Target.of(head, final))
    torch.testing.assert_close(same, torch.zeros(5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "native-attention-only"])
def test_its_gradient_is_that_of_the_definition(name: str) -> None:
    head = Unembedding.of(tiny(name))
    target = Target.of(head, streams(0, 5))
    slopes = []
    for function in (lambda x: divergence(head, x, target), lambda x: divergence_by_hand(head, head.normed(x), target)):
        point = streams(1, 2, 5).requires_grad_(True)
        slopes.append(torch.autograd.grad((function(point) * torch.arange(1, 6)).sum(), point)[0])
    torch.testing.assert_close(slopes[0], slopes[1], atol=1e-5, rtol=1e-4)
    assert float(slopes[0].abs().max()) > 1e-3


def test_its_gradient_is_the_slope_of_the_function() -> None:
    head = Unembedding.of(tiny("llama"))
    target = Target.of(head, streams(0, 4))
    point, way = streams(1, 4), torch.nn.functional.normalize(streams(2, 4), dim=-1)
    leaf = point.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(divergence(head, leaf, target).sum(), leaf)
    step = 1e-2
    risen = divergence(head, point + step * way, target) - divergence(head, point - step * way, target)
    torch.testing.assert_close((slope * way).sum(-1), risen / (2 * step), atol=2e-3, rtol=2e-2)


def test_a_sample_of_the_vocabulary_estimates_it() -> None:
    head = Unembedding.of(tiny("llama"))
    target, vectors = Target.of(head, streams(0, 6)), streams(1, 6)
    exact = divergence(head, vectors, target)
    draws = []
    for seed in range(300):
        columns = Columns.drawn(target, 60, torch.Generator().manual_seed(seed))
        assert columns is not None
        assert len(set(columns.ids.tolist())) == 60
        draws.append(divergence(head, vectors, target, columns))
    # The normaliser itself is estimated without bias; of its logarithm a little is left.
    log_z = torch.stack(draws) - exact
    torch.testing.assert_close(log_z.exp().mean(0), torch.ones(6), atol=0.1, rtol=0)
    assert Columns.drawn(target, 100, torch.Generator()) is None, "all columns need no estimate"


def test_a_model_with_another_readout_is_refused() -> None:
    model = tiny_gpt2()
    model.unembed.hook_out.add_hook(lambda value, hook: value * 3)
    with pytest.raises(InputError, match="nothing to be tuned to"):
        Unembedding.of(model)
