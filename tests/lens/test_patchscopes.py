"""Patchscopes against a full forward pass with one hook, and generation against re-running the whole prompt."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from interp.errors import InputError
from interp.lens import patchscope, patchscope_precision
from interp.lens.patchscope_runs import Inspection, Inspector, generate_from, leading, marked_prompt
from interp.models.tokens import to_strings
from interp.results import load
from tests.lens.test_translators import random_lens
from tests.tiny_models import TINY, random_tokens, tiny, tiny_llama

SCOPE = Inspection(torch.tensor([5, 6, 7, 8, 9]), 3)


def by_hook(model: Any, tokens: torch.Tensor, vector: torch.Tensor, layer: int, position: int) -> torch.Tensor:
    """Logits of the last token, with one stream overwritten: the slow twin."""

    def write(value: torch.Tensor, hook: Any) -> torch.Tensor:
        value = value.clone()
        value[:, position] = vector
        return value

    return model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.hook_resid_pre", write)])[0, -1]


@pytest.mark.parametrize("name", TINY)
def test_a_written_state_is_what_a_hook_writes(name: str) -> None:
    model = tiny(name)
    inspector = Inspector(model, SCOPE)
    vectors = torch.randn(2, 48, generator=torch.Generator().manual_seed(0))
    for layer in (0, model.cfg.n_layers - 1):
        found = inspector.log_probs(vectors, layer)
        for vector, read in zip(vectors, found):
            expected = by_hook(model, SCOPE.tokens[None], vector, layer, 3).log_softmax(-1)
            torch.testing.assert_close(read, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["llama", "gemma2", "native"])
def test_generation_goes_on_from_the_written_state(name: str) -> None:
    model = tiny(name)
    vectors = torch.randn(3, 48, generator=torch.Generator().manual_seed(1))
    layers = [0, 2, 0]
    found = generate_from(model, SCOPE, vectors, layers, 4)
    for vector, layer, new in zip(vectors, layers, found):
        tokens = SCOPE.tokens[None]
        for token in new:
            logits = by_hook(model, tokens, vector, layer, 3)
            assert int(token) == int(logits.argmax())
            tokens = torch.cat([tokens, token.view(1, 1)], dim=1)


def test_a_state_written_where_it_is_from_changes_nothing() -> None:
    model = tiny("llama")
    tokens = random_tokens(1, 6)
    found = patchscope(model, tokens, position=-1, inspection=tokens[0], at=-1, n_tokens=2, top_k=3)
    own = model(tokens)[0, -1].log_softmax(-1)
    for layer in range(4):
        read = found.sel(layer=layer)
        assert read.values["top_ids"].data.tolist() == own.topk(3).indices.tolist()
        torch.testing.assert_close(read.values["top_log_probs"].data, own.topk(3).values, atol=1e-4, rtol=1e-4)


def test_source_and_target_layers_each_to_each(tmp_path: Any) -> None:
    model = tiny("llama")
    found = patchscope(
        model, "w5 w6 w7", position=1, layers=[1, 3], inspection="w8 w9 w4", target_layers=[0, 2, 3], n_tokens=3
    )
    assert found.values["probability"].dims == ("layer", "target")
    frame = found.descriptions()
    assert frame[["layer", "target"]].to_numpy().tolist() == [[1, 0], [1, 2], [1, 3], [3, 0], [3, 2], [3, 3]]
    _, cache = model.run_with_cache(torch.tensor([[5, 6, 7]]))
    logits = by_hook(model, torch.tensor([[8, 9, 4]]), cache["blocks.3.hook_resid_pre"][0, 1], 2, 2)
    row = frame[(frame.layer == 3) & (frame.target == 2)].iloc[0]
    assert row["first token"] == f"w{int(logits.argmax())}"
    assert row["generated"].split()[0] == row["first token"]
    assert abs(row["probability"] - float(logits.softmax(-1).max())) < 1e-5
    for number in range(len(found.plots)):
        found.figure(number)
    assert load(found.save(tmp_path)).equal(found)


def test_what_the_examples_share_is_passed_over_where_it_comes() -> None:
    """The model's own first token as the separator: what is scored is the second, by a hook in the longer prompt."""
    model = tiny("llama")
    scope = torch.tensor([[8, 9, 4]])
    free = patchscope(model, "w5 w6 w7", position=1, inspection="w8 w9 w4", n_tokens=3)
    first = free.texts["generated"][1].split()[0]
    found = patchscope(model, "w5 w6 w7", position=1, inspection="w8 w9 w4", separator=first, n_tokens=3)
    assert found.texts["generated"] == free.texts["generated"], "nothing is forced"
    _, cache = model.run_with_cache(torch.tensor([[5, 6, 7]]))
    own = model.run_with_cache(scope)[1]["blocks.0.hook_resid_pre"][0, 2]
    for layer, row in found.descriptions().iterrows():
        comes = row["generated"].split()[0] == first
        assert found.texts["skipped"][layer] == (first if comes else "")
        longer = torch.cat([scope, torch.tensor([[int(first[1:])]])], dim=1) if comes else scope
        logits = by_hook(model, longer, cache[f"blocks.{layer}.hook_resid_pre"][0, 1], layer, 2)
        assert row["first token"] == f"w{int(logits.argmax())}" == row["generated"].split()[int(comes)]
        assert abs(row["probability"] - float(logits.softmax(-1).max())) < 1e-5
        alone = by_hook(model, longer, own, 0, 2).softmax(-1)[logits.argmax()]
        assert abs(row["unwritten"] - float(alone)) < 1e-5
    assert found.texts["skipped"][1] == first
    came = torch.tensor([bool(skipped) for skipped in found.texts["skipped"]])
    lines = found.values["drawn"]
    assert lines.axis("read").labels[0] == f"after {first!r}"
    assert torch.equal(lines.data[0].isfinite(), came)
    assert bool(came.all()) or torch.equal(lines.data[1].isfinite(), ~came)
    assert torch.equal(lines.data[-1], found.values["unwritten_probability"].data)
    assert free.values["drawn"].axis("read").labels == ("state written", "nothing written")
    found.figure()
    assert f"after the {first!r} that the prompt's examples share" in found.plots[0].caption
    assert "share" not in free.plots[0].caption
    assert "'w6' (position 1)" in found.plots[0].caption
    assert found.plots[0].caption.endswith("«w4»")
    assert found.settings["unwritten"].split()[0] == f"w{int(model(scope)[0, -1].argmax())}"


def test_a_separator_may_be_several_tokens() -> None:
    model = tiny("llama")
    tokens = torch.tensor([5, 6, 7])
    texts = to_strings(model, tokens)
    assert leading(model, tokens, texts[0] + texts[1]).tolist() == [5, 6]
    assert leading(model, tokens, f" {texts[0]} ").tolist() == [5]
    assert leading(model, tokens, texts[1]).tolist() == []
    assert leading(model, tokens, "").tolist() == []


def test_a_marked_prompt_keeps_its_spaces() -> None:
    assert marked_prompt({"inspection": ["a", ",", " x"], "inspection_position": 2}) == "a, «x»"
    assert marked_prompt({"inspection": ["a", " ", "b"], "inspection_position": 1}) == "a« »b"
    assert marked_prompt({"inspection": ["0", "5", "3"], "inspection_position": 1}) == "0 «5» 3"


def test_precision_by_hand(tmp_path: Any) -> None:
    model, lens = tiny("llama"), random_lens()
    tokens = random_tokens(6, 7)
    found = patchscope_precision(model, tokens, lens=lens, n=6, length=7, inspection=[5, 6, 7, 8, 9], at=3)
    _, cache = model.run_with_cache(tokens)
    final = model(tokens)[:, -1].argmax(-1)
    for layer in range(4):
        states = cache[f"blocks.{layer}.hook_resid_pre"][:, -1]
        rows = {
            "patchscope": torch.stack([by_hook(model, SCOPE.tokens[None], state, layer, 3) for state in states]),
            "logit lens": model.ln_final(states[None])[0] @ model.W_U,
            "tuned lens": model.ln_final(lens(states, layer)[None])[0] @ model.W_U,
        }
        for method, logits in rows.items():
            here = {n: found.values[n].sel(layer=layer, method=method).data for n in ("precision", "surprisal")}
            torch.testing.assert_close(here["precision"], (logits.argmax(-1) == final).float().mean())
            surprisal = -logits.log_softmax(-1)[torch.arange(6), final].mean()
            torch.testing.assert_close(here["surprisal"], surprisal, atol=1e-4, rtol=1e-4)
    for number in range(len(found.plots)):
        found.figure(number)
    assert load(found.save(tmp_path)).equal(found)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"position": 3}, "position 3 is outside"),
        ({"position": -4}, "position -4 is outside"),
        ({"layers": [4]}, "no layer 4; a hidden state enters block 0 to 3"),
        ({"layers": []}, "no layer left"),
        ({"target_layers": [-1]}, "no layer -1"),
        ({"at": 2, "inspection": "w8 w9"}, "2 tokens, and none at position 2"),
        ({"n_tokens": 0}, "at least 1"),
        ({"inspection": [5, 200]}, "outside of the model's vocabulary"),
    ],
)
def test_bad_questions_are_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        patchscope(tiny("llama"), "w5 w6 w7", **{"inspection": "w8 w9"} | asked)


def test_several_prompts_and_lenses_of_other_models_are_refused() -> None:
    with pytest.raises(InputError, match="of one prompt, not of 2"):
        patchscope(tiny("llama"), ["w5", "w6"])
    with pytest.raises(InputError, match="weights of"):
        patchscope_precision(tiny_llama(1), random_tokens(3, 5), lens=random_lens(), length=5)
