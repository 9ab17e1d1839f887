"""Runs from a changed state on, against whole runs of the model inside `intervene`."""

from __future__ import annotations

import pytest
import torch

from interp.errors import InputError
from interp.hooks import capture, intervene, prompt_tokens, sites
from interp.hooks.interventions import Intervention
from interp.hooks.readout import Readout
from interp.probing import Answers, labelled_tokens
from interp.probing.causal.answers import answer_tokens, margins
from interp.probing.causal.places import RANDOM, Places, task_places, text_places
from interp.probing.causal.stages import Stage
from tests.probing.planted import embedding_side
from tests.tiny_models import tiny

ALL_SITES = (sites.resid_pre(0), sites.resid_post(1), sites.resid_post(3), sites.z(2), sites.mlp_out(1))


def some_places() -> Places:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, 99, (9, 10), generator=generator)
    at = torch.tensor([2, 5, 3, 2, 7, 4, 5, 6, 3])
    read = torch.tensor([2, 6, 8, 4, 7, 9, 5, 9, 3])
    return Places(tokens, at, read, torch.full((9,), 5), torch.arange(9))


@pytest.mark.parametrize("name", ["llama", "native", "gpt2"])
@pytest.mark.parametrize("site", ALL_SITES, ids=str)
def test_a_resumed_run_is_the_whole_run_with_that_change(name: str, site: sites.Site) -> None:
    model = tiny(name)
    if site.layer is not None and site.layer >= model.cfg.n_layers:
        pytest.skip("this model has fewer layers")
    places = some_places()
    stage = Stage(model, places, (site,), batch_size=4)
    states = capture(model, places.tokens, site, positions=places.at)[site].flatten(1)
    torch.testing.assert_close(stage.states[0], states, atol=1e-5, rtol=1e-5)
    move = torch.randn(9, states.shape[1], generator=torch.Generator().manual_seed(1))

    def whole(x: torch.Tensor, here: object) -> torch.Tensor:
        return x * 0.5 + move.view(9, 1, *x.shape[2:])

    with intervene(model, Intervention(site, whole, "half and a move", positions=places.at[:, None])):
        expected = model(places.tokens)[torch.arange(9), places.read]
    with torch.no_grad():
        found = stage.logits(site, lambda old, rows: old * 0.5 + move[rows])
        few = stage.logits(site, lambda old, rows: old * 0.5 + move[rows], torch.tensor([7, 3]))
        same = stage.logits(site, lambda old, rows: old)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(few, expected[:, [7, 3]], atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(same.log_softmax(-1), stage.log_probs, atol=2e-4, rtol=1e-4)


def test_examples_get_prompts_of_their_own_with_what_is_put_after_them() -> None:
    model = tiny("llama")
    tokens = prompt_tokens(torch.tensor([[5, 6, 7, 0, 0], [8, 9, 10, 11, 12]]), lengths=torch.tensor([3, 5]))
    at, rows = torch.tensor([0, 2, 3]), torch.tensor([0, 0, 1])
    data = labelled_tokens(tokens, ["a", "b", "a"], at, rows=rows)
    here = task_places(model, data)
    assert here.read.tolist() == [0, 2, 3]
    assert here.following.tolist() == [6, -1, 12]
    after = task_places(model, data, appended=(20, 21))
    assert after.read.tolist() == [4, 4, 6]
    assert after.tokens[:, :5].tolist()[1] == [5, 6, 7, 20, 21]
    assert after.tokens[2].tolist() == [8, 9, 10, 11, 12, 20, 21]
    assert after.following.tolist() == [-1, -1, -1]
    with pytest.raises(InputError, match="tokens and the model takes 64"):
        task_places(model, data, appended=tuple(range(3, 70)))


def test_unrelated_text_is_as_far_read_and_one_a_document(tmp_path) -> None:
    places, name = text_places(tiny("llama"), 12, reach=3, seed=0, source=RANDOM)
    assert name == "random tokens"
    assert len(places) == len(places.groups.unique()) == 12
    assert set((places.read - places.at).tolist()) == {3}
    assert places.following.tolist() == text_places(tiny("llama"), 12, 3, 0, RANDOM)[0].following.tolist()
    for i in range(3):
        (tmp_path / f"{i}.txt").write_text(" ".join(f"w{j % 90 + 3}" for j in range(i, 200)))
    few, _ = text_places(tiny("llama"), 3, 0, 0, tmp_path)
    assert len(few) == 3
    with pytest.raises(InputError, match="passages"):
        text_places(tiny("llama"), 12, 0, 0, tmp_path)


def test_answers_are_tokens_and_margins_differences_of_means() -> None:
    data = embedding_side(tiny("llama"))
    found = answer_tokens(tiny("llama"), data, Answers({"left": (" w5", 6), "right": (" w8",)}, after=" w3 w4"))
    assert found is not None
    assert found.columns.tolist() == [5, 6, 8]
    assert found.appended == (3, 4)
    by_class = found.by_class(torch.tensor([[1.0, 3.0, 7.0], [0.0, 2.0, -4.0]]), 2)
    torch.testing.assert_close(by_class, torch.tensor([[2.0, 7.0], [1.0, -4.0]]))
    torch.testing.assert_close(margins(by_class, torch.tensor([0, 0])), torch.tensor([-5.0, 5.0]))
    three = torch.tensor([[1.0, 2.0, 6.0]])
    torch.testing.assert_close(margins(three, torch.tensor([2])), torch.tensor([4.5]))
    assert answer_tokens(tiny("llama"), data, None) is None


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ({"left": (" w5",), "middle": (" w6",)}, "answers for 'middle'"),
        ({"left": (" w5",)}, "class 'right' has no answers"),
        ({"left": (" w5",), "right": (" xyz",)}, "none of the answers for 'right'"),
        ({"left": (" w5",), "right": (" w5",)}, "answers for every class"),
    ],
)
def test_unusable_answers_are_refused(of: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        answer_tokens(tiny("llama"), embedding_side(tiny("llama")), Answers(of))


def test_a_readout_of_single_rows_is_that_of_the_batch() -> None:
    places, model = some_places(), tiny("llama")
    stage = Stage(model, places, (sites.resid_post(1),), batch_size=9)
    (chunk,) = stage.chunks
    index = torch.tensor([4, 0, 7])
    rows = chunk.rows[index]
    with torch.no_grad():
        found = stage.resumed(chunk.of_rows(index), sites.resid_post(1), Readout(places.read[rows][:, None], None))
    torch.testing.assert_close(found.log_softmax(-1), stage.log_probs[rows], atol=2e-4, rtol=1e-4)
