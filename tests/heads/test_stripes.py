"""Stripe scores against plain loops over the patterns, and against what the hand-built induction model does."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from interp.errors import InputError
from interp.heads import scores
from interp.heads.stripes import targets
from interp.hooks.prompts import prompt_tokens
from interp.models.toy import induction
from interp.tasks.repetition import repeated_random_tokens
from tests.tiny_models import TINY, tiny

LENGTH = 7


def all_patterns(model: Any, tokens: torch.Tensor) -> list[torch.Tensor]:
    """[batch, head, query, key] of every layer, from TransformerLens's own cache."""
    _, cache = model.run_with_cache(tokens)
    return [cache["pattern", layer] for layer in range(model.cfg.n_layers)]


@pytest.fixture(scope="module")
def toy() -> Any:
    return induction.build()


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("prepend_bos", [False, True])
def test_scores_are_the_attention_a_loop_finds(name: str, prepend_bos: bool) -> None:
    model = tiny(name)
    if prepend_bos and model.tokenizer is None:
        pytest.skip("no tokenizer to name a BOS")
    result = scores(model, n=3, length=LENGTH, seed=5, prepend_bos=prepend_bos, batch_size=2)
    tokens = torch.Tensor(repeated_random_tokens(model, 3, LENGTH, 5, prepend_bos)).long()
    first = int(prepend_bos)
    for layer, pattern in enumerate(all_patterns(model, tokens)):
        for row in range(3):
            for head in range(model.cfg.n_heads):
                here = pattern[row, head]
                second_copy = range(first + LENGTH, first + 2 * LENGTH)
                expected = {
                    "previous": [here[q, q - 1] for q in range(1, tokens.shape[1])],
                    "duplicate": [here[q, q - LENGTH] for q in second_copy],
                    "induction": [here[q, q - LENGTH + 1] for q in second_copy],
                }
                each = result.values["per_prompt"].sel(example=row, layer=layer, head=head)
                for kind, attention in expected.items():
                    assert each.sel(kind=kind).data.item() == pytest.approx(
                        float(sum(attention)) / len(attention), abs=1e-5
                    )


def test_a_score_is_the_mean_over_prompts_and_lies_in_its_interval() -> None:
    result = scores(tiny("llama"), n=5, length=LENGTH)
    values = {name: value.data for name, value in result.values.items()}
    torch.testing.assert_close(values["score"], values["per_prompt"].mean(0))
    assert bool(((values["low"] <= values["score"]) & (values["score"] <= values["high"])).all())
    assert result.sel(kind="induction").top(2).columns.tolist() == ["layer", "head", "value", "low", "high"]


def test_the_control_is_measured_on_prompts_that_do_not_repeat() -> None:
    model = tiny("gpt2")
    result = scores(model, n=2, length=LENGTH)
    # A previous-token score has nothing to do with repetition; the other two change when it goes.
    difference = (result.values["control"].data - result.values["score"].data).abs().amax((1, 2))
    assert difference[0] < 0.1
    assert bool((difference[1:] > 1e-3).all())


def test_the_toy_induction_circuit_scores_exactly_one(toy: Any) -> None:
    tokens = induction.pairs(4, seed=0)[0]
    result = scores(toy, tokens, keep_patterns=1)
    score = result.values["score"]
    assert score.sel(kind="previous", layer=0, head=0).data.item() == pytest.approx(1.0, abs=1e-6)
    assert score.sel(kind="induction", layer=1, head=0).data.item() == pytest.approx(1.0, abs=1e-6)
    # a1.1 attends alike to itself and to its earlier copy.
    assert score.sel(kind="duplicate", layer=1, head=1).data.item() == pytest.approx(0.5, abs=1e-6)
    assert result.top_heads("induction", 1) == [(1, 0)]
    assert result.top_heads("previous", 1) == [(0, 0)]
    assert "1.0" in result.values["pattern"].axis("head").labels
    assert len(result.texts["tokens"][0]) == tokens.shape[1]


def test_given_tokens_and_generated_ones_agree_where_nothing_repeats_by_accident() -> None:
    model = tiny("llama")
    seed = next(s for s in range(50) if len(set(repeated_random_tokens(model, 1, LENGTH, s)[0].tolist())) == LENGTH)
    made = scores(model, n=1, length=LENGTH, seed=seed).values["score"].data
    given = scores(model, repeated_random_tokens(model, 1, LENGTH, seed)).values["score"].data
    torch.testing.assert_close(made, given, atol=1e-6, rtol=0)


def test_pads_do_not_count() -> None:
    model = tiny("gpt2")
    row = [5, 6, 7, 5, 6, 7, 5]
    alone = scores(model, torch.tensor([row])).values["score"].data
    padded = prompt_tokens(torch.tensor([[*row, 9, 9, 9]]), lengths=torch.tensor([len(row)]))
    torch.testing.assert_close(scores(model, padded).values["score"].data, alone, atol=1e-5, rtol=0)


def test_targets_by_hand() -> None:
    tokens = torch.tensor([[4, 5, 4, 4]])
    assert targets(tokens, "duplicate").nonzero().tolist() == [[0, 2, 0], [0, 3, 0], [0, 3, 2]]
    # After the first 4 comes position 1; after the second comes position 3 itself, which is no memory.
    assert targets(tokens, "induction").nonzero().tolist() == [[0, 2, 1], [0, 3, 1]]
    assert targets(tokens, "previous").nonzero().tolist() == [[0, 1, 0], [0, 2, 1], [0, 3, 2]]


def test_prompts_without_repetition_have_no_say() -> None:
    model = tiny("gpt2")
    repeating, other = [5, 6, 7, 5, 6, 7], [8, 9, 10, 11, 12, 13]
    both = scores(model, torch.tensor([repeating, other]), kinds=("duplicate",))
    alone = scores(model, torch.tensor([repeating]), kinds=("duplicate",))
    torch.testing.assert_close(both.values["score"].data, alone.values["score"].data, atol=1e-5, rtol=0)
    assert bool(both.values["per_prompt"].data[1].isnan().all())


def test_text_is_read_as_it_stands() -> None:
    model = tiny("llama")
    text = scores(model, "w5 w6 w7 w5 w6 w7")
    torch.testing.assert_close(
        text.values["score"].data, scores(model, torch.tensor([[5, 6, 7, 5, 6, 7]])).values["score"].data
    )
    with_bos = scores(model, "w5 w6 w7 w5 w6 w7", prepend_bos=True)
    torch.testing.assert_close(
        with_bos.values["score"].data, scores(model, torch.tensor([[1, 5, 6, 7, 5, 6, 7]])).values["score"].data
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": torch.tensor([[5]])}, "a prompt has 1 token; this needs at least 2"),
        ({"tokens": torch.tensor([[5, 6, 7]])}, "no token of these prompts occurs twice"),
        ({"tokens": torch.tensor([[5, 600]])}, "token id 600 is outside"),
        ({"tokens": torch.rand(2, 3)}, "tokens must be integers"),
        ({"tokens": []}, "give a text"),
        ({"kinds": ("inductive",)}, "did you mean 'induction'"),
        ({"kinds": ()}, "no kinds were given"),
        ({"length": 50}, "use length=32 or less"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_sentence(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        scores(tiny("gpt2"), **{"n": 2, "length": LENGTH} | arguments)


def test_a_result_survives_the_disk(tmp_path: Any) -> None:
    from interp.results import load

    result = scores(tiny("gpt2"), n=2, length=LENGTH, keep_patterns=1)
    back = load(result.save(tmp_path / "scores"))
    assert back.equal(result)
    assert type(back) is type(result)
