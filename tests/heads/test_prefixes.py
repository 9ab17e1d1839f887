"""Prefix matching against a loop over pattern entries."""

from __future__ import annotations

import pytest
import torch

from interp.heads import prefix_matching
from interp.tasks.repetition import repeated_random_tokens
from tests.tiny_models import tiny


def test_entries_and_sums_are_what_a_loop_finds() -> None:
    model = tiny("llama")
    result = prefix_matching(model, n=2, length=6, n_repeats=3, seed=1)
    tokens = torch.Tensor(repeated_random_tokens(model, 2, 6, 1, True, 3)).long()
    _, cache = model.run_with_cache(tokens)
    for layer in range(model.cfg.n_layers):
        pattern = cache["pattern", layer]
        for row in range(2):
            ids = tokens[row].tolist()
            found = {q: [k for k in range(1, q) if ids[k - 1] == ids[q]] for q in range(len(ids))}
            pairs = [(q, k) for q, keys in found.items() for k in keys]
            n_queries = sum(1 for keys in found.values() if keys)
            for head in range(model.cfg.n_heads):
                total = sum(float(pattern[row, head, q, k]) for q, k in pairs)
                each = result.values["per_prompt"].sel(example=row, layer=layer, head=head)
                assert each.sel(kind="entries").data.item() == pytest.approx(total / len(pairs), abs=1e-5)
                assert each.sel(kind="summed").data.item() == pytest.approx(total / n_queries, abs=1e-5)
