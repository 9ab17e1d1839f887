"""A look at one prompt against the methods it puts together, each run by itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import interp
from interp.errors import InputError
from interp.heads import patterns
from interp.lens import direct_attribution, logit_lens, looking
from tests.tiny_models import TINY, random_tokens, tiny

TEXT = "w5 w6 w7 w5 w6"


@pytest.mark.parametrize("name", TINY)
def test_a_look_is_what_the_methods_find_one_by_one(name: str) -> None:
    model, tokens = tiny(name), random_tokens(1, 6)
    seen = interp.look(model, tokens[0], target=5, distractor=7, heads=["1.2", "0.3"], top_k=3)
    heads = direct_attribution(model, tokens, by="head", target=5, distractor=7)
    parts = direct_attribution(model, tokens, by="component", target=5, distractor=7)
    sources = direct_attribution(model, tokens, by="source", target=5, distractor=7, heads=["1.2", "0.3"])
    lens = logit_lens(model, tokens, targets=5, top_k=3)
    attention = patterns(model, tokens, heads=["1.2", "0.3"]).sel(example=0)
    pairs = {
        "head_contribution": heads.values["contribution"],
        "component_contribution": parts.values["contribution"],
        "source_contribution": sources.values["contribution"],
        "log_prob": lens.values["log_prob"],
        "entropy": lens.values["entropy"],
        "top_ids": lens.values["top_ids"],
        "pattern": attention.values["pattern"],
    }
    for value, expected in pairs.items():
        found = seen.values[value]
        assert found.axes == expected.axes
        torch.testing.assert_close(found.data, expected.data, atol=1e-4, rtol=1e-4)


def test_it_takes_one_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama")
    interp.look(model, TEXT)  # whatever is tried once a model
    passes: list[int] = []
    handle = model.original_model.register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        interp.look(model, TEXT)
    finally:
        handle.remove()
    assert len(passes) == 1


@pytest.mark.parametrize("name", ["gpt2", "llama", "native"])
def test_the_neuron_view_sums_to_the_score_before_the_softmax(name: str) -> None:
    model, tokens = tiny(name), random_tokens(1, 6)
    seen = interp.look(model, tokens[0], heads=["1.2", "0.3"])
    for head, query in (("1.2", -1), ("0.3", 2)):
        view = seen.neuron_view(head, query)
        assert view.dims == ("key", "dim")
        assert view.data.shape == (query % 6 + 1, 12)
        pattern = seen.values["pattern"].sel(head=head).data[query, : query % 6 + 1]
        torch.testing.assert_close(view.data.sum(-1).softmax(-1), pattern, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["gemma2", "gpt-neox"])
def test_products_that_are_not_the_score_are_not_shown(name: str) -> None:
    # Gemma caps its scores; GPT-NeoX rotates queries and keys out of reach.
    seen = interp.look(tiny(name), random_tokens(1, 12)[0])
    assert "queries" not in seen.values
    assert all(plot.values != "queries" for plot in seen.plots)
    with pytest.raises(InputError, match="no plain products"):
        seen.neuron_view("0.0")


def test_without_a_target_the_prediction_is_explained() -> None:
    model = tiny("gpt2")
    seen = interp.look(model, TEXT, heads=3)
    logits = model(torch.tensor([[5, 6, 7, 5, 6]]))[0, -1]
    assert seen.texts["target"] == [f"w{int(logits.argmax())}"]
    torch.testing.assert_close(seen.values["total"].data, logits.max() - logits.mean(), atol=1e-4, rtol=1e-4)
    contributions = seen.values["head_contribution"].data.abs()
    assert seen.settings["heads"][0] == ".".join(str(i) for i in divmod(int(contributions.argmax()), 4))
    assert len(seen.settings["heads"]) == 3


def test_a_long_prompt_is_read_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "LENS_POSITIONS", 3)
    model, tokens = tiny("llama"), random_tokens(1, 8)
    seen = interp.look(model, tokens[0], target=5)
    whole = logit_lens(model, tokens, targets=5).values["log_prob"].data
    torch.testing.assert_close(seen.values["log_prob"].data, whole[:, -3:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("w5", {}, "at least two tokens, not one token"),
        (["w5 w6", "w7 w8"], {}, "one prompt of at least two tokens, not 2 prompts"),
        ("w5 w6", {"target": "w5 w6"}, "is 2 tokens"),
        ("w5 w6", {"heads": ["4.0"]}, "layer 4"),
        ("w5 w6", {"heads": 0}, "heads=0"),
        ("", {}, "no tokens"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(text: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        interp.look(tiny("llama"), text, **arguments)


def test_prompts_that_do_not_fit_into_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match="one by one"):
        interp.look(tiny("llama"), TEXT)


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_a_look_survives_the_disk_and_shows_itself(name: str, tmp_path: Any) -> None:
    from interp.results import load

    seen = interp.look(tiny(name), random_tokens(1, 12)[0])
    back = load(seen.save(tmp_path / "look"))
    assert back.equal(seen)
    assert isinstance(back, looking.Look)
    for number, plot in enumerate(back.plots):
        if plot.options.get("view") is None:
            back.figure(number)
