"""Head scores against TransformerLens's head detector, whose "mul" measure is a share of all attention."""

from __future__ import annotations

import pytest
import torch
from transformer_lens.head_detector import detect_head

from interp.heads import scores
from interp.heads.stripes import targets
from tests.tiny_models import tiny

TEXT = "w5 w6 w7 w8 w5 w6 w9 w8"
DETECTORS = {
    "previous": "previous_token_head",
    "duplicate": "duplicate_token_head",
    "induction": "induction_head",
}


@pytest.mark.parametrize("kind", DETECTORS)
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_scores_are_the_detectors_up_to_the_number_of_queries(name: str, kind: str) -> None:
    model = tiny(name)
    tokens = model.to_tokens(TEXT)
    theirs = detect_head(model, TEXT, DETECTORS[kind])
    ours = scores(model, tokens, kinds=(kind,)).values["score"].sel(kind=kind).data
    n_queries = int(targets(tokens, kind).any(-1).sum())
    torch.testing.assert_close(ours * n_queries / tokens.shape[1], theirs, atol=1e-5, rtol=0)
