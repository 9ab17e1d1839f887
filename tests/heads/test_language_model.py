"""Which heads of SmolLM2-135M-Instruct do what, as measured before this project was written (no BOS, 50 tokens)."""

from __future__ import annotations

from typing import Any

import pytest

from interp.heads import prefix_matching, repeated_loss, scores
from interp.models import load_model

pytestmark = pytest.mark.slow

KNOWN = {
    "induction": {
        (18, 6): 0.89,
        (17, 3): 0.75,
        (17, 4): 0.73,
        (17, 5): 0.65,
        (18, 7): 0.58,
        (23, 2): 0.53,
        (23, 7): 0.50,
        (20, 6): 0.46,
    },
    "previous": {(16, 0): 0.89, (11, 1): 0.85, (2, 1): 0.73},
    "duplicate": {(14, 3): 0.70, (8, 0): 0.68},
}


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model("smollm2-135m")


@pytest.fixture(scope="module")
def measured(model: Any) -> Any:
    return scores(model, n=16)


@pytest.mark.parametrize("kind", KNOWN)
def test_known_heads_have_their_known_scores(measured: Any, kind: str) -> None:
    found = measured.values["score"].sel(kind=kind)
    for (layer, head), expected in KNOWN[kind].items():
        assert found.sel(layer=layer, head=head).data.item() == pytest.approx(expected, abs=0.06)
    assert set(measured.top_heads(kind, len(KNOWN[kind]))) == set(KNOWN[kind])


def test_induction_and_duplicate_heads_need_the_repetition(measured: Any) -> None:
    control = measured.values["control"]
    for kind in ("induction", "duplicate"):
        assert control.sel(kind=kind).data.max() < 0.05
    # A previous-token head looks one back in any case.
    assert control.sel(kind="previous", layer=16, head=0).data > 0.85


def test_the_loss_falls_when_the_tokens_repeat(model: Any) -> None:
    copies = repeated_loss(model, n=16).values["copies"].data
    assert copies[0].item() == pytest.approx(14.5, abs=0.5)
    # Measured with the copy's first token, which nobody can predict, it was 3.3.
    assert (copies[1] * 49 + copies[0]).item() / 50 == pytest.approx(3.3, abs=0.5)


def test_prefix_matching_finds_the_same_heads(model: Any) -> None:
    found = prefix_matching(model, n=6, prepend_bos=False)
    best = found.top_heads("entries", 5)
    assert best[0] == (18, 6)
    assert {(17, 3), (17, 4), (17, 5)} <= set(best)
