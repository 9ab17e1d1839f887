"""What causal tests say of themselves: illusions, what was before, the token that is changed; and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from interp import probing
from interp.errors import InputError
from interp.probing import Answers, LabelledTokens, Question, align, amnesic, erase, labelled_tokens, steer_along
from interp.probing.causal import preparing
from interp.probing.causal.alignment import LEARNT, MEANS, WHOLE
from interp.probing.causal.effects import CONTROLS, share_as_high, with_intervals
from interp.probing.causal.findings import alignment_findings, erasure_findings
from interp.probing.causal.illusions import BEYOND, illusion_notes
from interp.results import Axis, Values
from tests.probing.causal.used_and_unused import ANSWERS, examples, model
from tests.probing.planted import embedding_side
from tests.tiny_models import tiny

QUICK: dict[str, Any] = {"answers": ANSWERS, "n_test": 60, "n_random": 19, "layers": [1]}


def measured(learnt: torch.Tensor, whole: torch.Tensor, random: float, draws: int = 20) -> dict[str, Values]:
    """Accuracies of one layer, of pairs [pair] in groups of four."""
    layer = Axis("layer", (20,))
    groups = torch.arange(len(learnt)) // 4
    means = torch.stack([learnt.mean(), whole.mean(), whole.mean()])[:, None]
    drawn = torch.full((2, 1, draws), random)
    axes = (Axis("control", CONTROLS), layer, Axis("draw", tuple(range(draws))))
    p = share_as_high(means[0].expand(2, -1), drawn)
    return {
        "p": Values(p, (Axis("control", CONTROLS), layer), "share"),
        "accuracy": Values(means, (Axis("subspace", (LEARNT, MEANS, WHOLE)), layer), "share"),
        "random_accuracy": Values(drawn, axes, "share"),
        **with_intervals(BEYOND, (learnt - whole)[None], groups, (layer,), "share"),
    }


def some(share: float, n: int = 40) -> torch.Tensor:
    return (torch.arange(n) % 10 < 10 * share).float()


def test_an_illusion_is_stated_where_pairs_and_random_subspaces_show_it() -> None:
    (note,) = illusion_notes(measured(some(0.9), some(0.2), random=0.25))
    assert "at layer 20 (by 0.70 [" in note
    assert "Makelov" in note


@pytest.mark.parametrize(
    ("learnt", "whole", "random", "draws"),
    [
        (torch.cat([torch.ones(8), torch.zeros(32)]), torch.zeros(40), 0.0, 20),  # two of ten groups: may be chance
        (some(0.9), some(0.2), 0.95, 20),  # random subspaces do it too
        (some(0.9), some(0.2), 0.25, 5),  # too few draws to tell
        (some(0.9), some(0.2), 0.25, 0),
        (some(0.9, 16), some(0.2, 16), 0.25, 20),  # four groups have no interval
    ],
)
def test_where_it_is_not_shown_it_is_not_stated(
    learnt: torch.Tensor, whole: torch.Tensor, random: float, draws: int
) -> None:
    (note,) = illusion_notes(measured(learnt, whole, random, draws))
    assert "it is not shown that they differ" in note
    assert "Makelov" not in note


def test_no_word_of_it_where_the_whole_state_does_as_much() -> None:
    assert illusion_notes(measured(some(0.5), some(0.5), random=0.1)) == []
    assert illusion_notes(measured(some(0.2), some(0.9), random=0.1)) == []


def test_few_draws_do_not_make_an_illusion_of_a_search() -> None:
    asked = {"n_pairs": 96, "arbitrary": False, **QUICK}
    found = align(model(), examples("unused"), **asked | {"n_random": 5})
    notes = found.settings["notes"]
    (note,) = [note for note in notes if "not shown that they differ" in note]
    assert note.endswith("p of at most 0.05, and 5 draws cannot give less than 0.17")
    assert not any("Makelov" in note for note in notes)


def test_shares_are_set_beside_those_before_any_exchange() -> None:
    used = examples("used")
    wrong = torch.arange(len(used)) % 8 < 2
    data = replace(used, labels=torch.where(wrong, 1 - used.labels, used.labels))  # right in three of four
    found = align(model(), data, n_pairs=96, epochs=1, arbitrary=False, **QUICK)
    before = float(found.values["unchanged_accuracy"].data)
    assert before == pytest.approx(1 - float(found.values["unchanged_right"].data))
    assert 0.1 < before < 0.4
    gain = found.values["accuracy_gain"].data
    torch.testing.assert_close(gain, found.values["accuracy"].data - before)
    learnt, whole = (found.values["accuracy"].sel(subspace=name).data for name in (LEARNT, WHOLE))
    torch.testing.assert_close(found.values[BEYOND].data, learnt - whole)
    assert found.plots[0].options["references"] == {"nothing exchanged": before}
    assert "; bars: 95 % intervals over " in found.plots[0].caption  # one layer
    (told,) = alignment_findings(found)
    assert f"of the pairs ({100 * before:.0f} % before; whole state" in told


def test_a_share_no_larger_than_before_is_said_to_be_none() -> None:
    found = align(model(), examples("unused"), n_pairs=24, epochs=1, arbitrary=False, **QUICK)
    nothing = {f"accuracy_gain{end}": found.values[f"accuracy_gain{end}"] for end in ("", "_low", "_high")}
    zero = {name: replace(item, data=torch.zeros_like(item.data)) for name, item in nothing.items()}
    says = "which is not shown to be more than before; between"
    assert says in alignment_findings(replace(found, values=found.values | zero))[0]
    shown = {name: replace(item, data=torch.ones_like(item.data)) for name, item in nothing.items()}
    assert says not in alignment_findings(replace(found, values=found.values | shown))[0]


def worded() -> tuple[Any, LabelledTokens]:
    """A model of words "w3", and examples whose last word decides nothing."""
    return tiny("llama"), embedding_side(tiny("llama"))


def test_the_token_that_is_changed_and_what_stands_behind_it_are_said() -> None:
    small, data = worded()
    answers = Answers({"left": (" w5",), "right": (" w8",)}, after=" w3 w4")
    found = amnesic(small, data, answers=answers, methods=["leace"], layers=[1], n_test=20, n_random=2, text="random")
    (position,) = data.positions
    told = found.settings["changed"]
    assert (found.settings["after"], found.settings["after_tokens"]) == (" w3 w4", [3, 4])
    assert told["position"] == position
    assert told["later"][0] >= 2
    assert told["prompt"].endswith(told["tokens"][0])
    assert all(token.startswith("w") for token in told["tokens"])
    says = f'at {position!r} (such as "{told["tokens"][0]}"'
    behind = 'after " w3 w4", which is put behind every prompt'
    warning = "an effect near zero does not show that it is not used"
    (finding,) = erasure_findings(found)
    (note,) = [note for note in found.settings["notes"] if note.startswith("changed is the state of one token")]
    for text in (finding, note):
        assert says in text
        assert behind in text
        assert warning in text
        assert "tokens later" in text
    assert told["prompt"] in note
    assert behind in found.plots[0].caption


def test_where_the_answer_is_read_at_the_changed_token_nothing_is_warned_of() -> None:
    found = steer_along(model(), examples("used"), strengths=[1], **QUICK | {"n_random": 1})
    assert found.settings["changed"]["later"] == [0, 0]
    (note,) = [note for note in found.settings["notes"] if note.startswith("changed is")]
    assert note.endswith("where the prediction is read, too")
    assert found.settings["after"] == ""


@pytest.mark.parametrize("ask", [amnesic, erase, steer_along, align])
def test_an_option_that_is_not_there_is_refused_with_the_nearest(ask: Any) -> None:
    with pytest.raises(InputError, match="there is no option 'positions'; did you mean 'position'"):
        ask(model(), examples("used"), positions="x")
    with pytest.raises(InputError, match="there is no option 'n_tests'; did you mean 'n_test'"):
        ask(model(), examples("used"), n_tests=3)


def test_the_question_that_docstrings_name_can_be_had() -> None:
    assert probing.Question is Question
    assert "n_test" in (Question.__doc__ or "")


def test_what_cannot_be_asked_is_refused_before_states_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("states were read")

    monkeypatch.setattr(preparing, "gather", never)
    data = examples("used")
    with pytest.raises(InputError, match="rank=31 does not fit"):
        align(model(), data, rank=31, answers=ANSWERS)
    with pytest.raises(InputError, match="has none; give answers="):
        align(model(), data)
    for ask in (erase, amnesic):
        with pytest.raises(InputError, match="max_rank=31 does not fit: activations here have 30 dimensions"):
            ask(model(), data, max_rank=31)
    tokens = torch.randint(3, 90, (60, 4), generator=torch.Generator().manual_seed(0))
    three = labelled_tokens(tokens, ["abc"[i % 3] for i in range(60)], torch.full((60,), 3))
    with pytest.raises(InputError, match="there are 3; choose two"):
        steer_along(tiny("llama"), three, layers=[0], text="random")
    with pytest.raises(AssertionError, match="states were read"):
        align(model(), data, answers=ANSWERS)


def test_p_of_an_exchange_is_of_the_share_that_is_shown_and_of_high_ones_only() -> None:
    draws = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    assert share_as_high(torch.tensor([0.35]), draws).tolist() == pytest.approx([2 / 5])
    assert share_as_high(torch.tensor([0.05]), draws).tolist() == pytest.approx([1.0])
    assert share_as_high(torch.tensor([0.05]), draws[:, :0]).isnan().all()
