"""Attention between named tokens against whole patterns, looked up one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from interp import heads, tasks
from interp.reproduce import ioi_roles as rules
from interp.reproduce.ioi_attention import PAIRS, role_attention
from tests.tasks.conftest import make_word_model  # noqa: F401  (a fixture)


def test_every_entry_is_the_patterns_own(make_word_model: Callable[..., Any]) -> None:  # noqa: F811
    model = make_word_model()
    task = tasks.ioi(model, n=5)
    found = role_attention(model, task)
    per_prompt = found.values["per_prompt"]
    for side, tokens in (("clean", task.clean), ("corrupt", task.corrupt)):
        for example in range(len(task)):
            length = int(tokens.lengths[example])
            whole = heads.patterns(model, tokens[example : example + 1, :length].as_subclass(type(task.answers)))
            at = {role: int(index[example]) for role, index in tokens.positions.items()}
            for pair, (query, keys) in PAIRS.items():
                for layer in range(2):
                    for head in range(2):
                        pattern = whole.sel(example=0, head=f"{layer}.{head}").values["pattern"].data
                        expected = sum(float(pattern[at[query], at[key]]) for key in keys)
                        here = per_prompt.sel(example=example, side=side, pair=pair, layer=layer, head=head)
                        assert float(here.data) == pytest.approx(expected, abs=1e-6)
    means = per_prompt.data.mean(0)
    assert (means[0] - means[1] - found.values["beyond"].data).abs().max() < 1e-6
    assert (means[1] - found.values["abc"].data).abs().max() < 1e-6
    seen = found.evidence()
    assert set(seen) == {*PAIRS, *(pair + rules.BEYOND for pair in PAIRS)}
    assert (seen["S2 to S1"].mean - found.values["attention"].sel(pair="S2 to S1").data).abs().max() == 0
    used = {
        use
        for rule in rules.RULES
        for condition in rule.looks
        for use in condition.uses
        if " to S" in use or " to IO" in use
    }
    assert used <= set(seen) | {rules.AFTER}
