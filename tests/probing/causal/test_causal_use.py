"""Erasing, steering and exchanging in models whose use of a property is known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import interp
from interp import results
from interp.errors import InputError
from interp.hooks.prompts import prompt_tokens
from interp.probing import Answers, align, amnesic, erase, labelled_tokens, steer_along
from interp.probing.causal.alignment import LEARNT, MEANS, WHOLE
from interp.probing.causal.curves import Curve, curve_plot
from interp.probing.causal.effects import CONTROLS, share_at_least
from interp.probing.causal.erasing import fit_eraser
from interp.probing.causal.findings import alignment_findings, erasure_findings, steering_findings
from interp.probing.causal.preparing import Question, prepare
from interp.probing.causal.subspace_search import partners
from interp.results import Axis
from tests.probing.causal.used_and_unused import ANSWERS, GAIN, MARGIN, examples, model
from tests.probing.planted import embedding_side
from tests.tiny_models import tiny

QUICK: dict[str, Any] = {"answers": ANSWERS, "n_test": 60, "n_random": 19, "layers": [1]}


def one(result: results.Result, name: str, **where: Any) -> float:
    return float(result.values[name].sel(layer=1, **where).data)


@pytest.fixture(scope="module")
def used() -> Any:
    return amnesic(model(), examples("used"), **QUICK)


@pytest.fixture(scope="module")
def unused() -> Any:
    return amnesic(model(), examples("unused"), **QUICK)


@pytest.mark.parametrize("method", ["leace", "inlp"])
def test_erasing_what_is_used_takes_the_whole_margin(used: Any, method: str) -> None:
    assert float(used.values["unchanged_margin"].data) == pytest.approx(MARGIN)
    assert float(used.values["unchanged_right"].data) == 1
    assert one(used, "effect", method=method) == pytest.approx(MARGIN, rel=0.05)
    assert one(used, "effect_low", method=method) <= one(used, "effect", method=method)
    assert one(used, "effect", method=method) <= one(used, "effect_high", method=method)
    for control in CONTROLS:
        assert one(used, "p", method=method, control=control) == pytest.approx(1 / 20)
    each = used.values["effect_each"].sel(method=method, layer=1).data
    torch.testing.assert_close(each.mean(), used.values["effect"].sel(method=method, layer=1).data)
    assert one(used, "text_kl", method=method) > 0.01


def test_erasing_what_is_there_but_not_used_does_nothing(unused: Any) -> None:
    assert one(unused, "accuracy", erased="before", probe="linear") == 1
    assert one(unused, "accuracy", erased="leace", probe="linear") < 0.65
    for method in ("leace", "inlp"):
        assert abs(one(unused, "effect", method=method)) < 0.02 * MARGIN
        assert one(unused, "kl", method=method) < 1e-3
        assert one(unused, "text_kl", method=method) < 1e-3
        assert one(unused, "p", method=method, control=CONTROLS[1]) > 0.3
    assert any("does not have this behaviour" in note for note in unused.settings["notes"])


@pytest.fixture(scope="module")
def meaningless() -> Any:
    data = examples("used")
    drawn = torch.randint(2, (len(data),), generator=torch.Generator().manual_seed(1))
    return amnesic(model(), replace(data, labels=drawn), methods=["inlp", "leace"], **QUICK)


def test_where_nothing_is_erased_there_is_no_effect_and_the_result_says_so(meaningless: Any) -> None:
    assert one(meaningless, "rank", method="inlp") == 0
    for name in ("effect", "effect_low", "effect_high", "kl", "right", "text_kl"):
        assert math.isnan(one(meaningless, name, method="inlp"))
        assert not math.isnan(one(meaningless, name, method="leace"))
    for control in CONTROLS:
        assert math.isnan(one(meaningless, "p", method="inlp", control=control))
        assert one(meaningless, "p", method="leace", control=control) > 0
    assert bool(meaningless.values["random_effect"].sel(method="inlp").data.isnan().all())
    says = "INLP, layer 1: nothing to erase: no linear probe beat the majority class"
    assert any(note.startswith(says) for note in meaningless.settings["notes"])
    inlp, leace = erasure_findings(meaningless)
    assert inlp.startswith("INLP found nothing to erase at any layer")
    assert leace.startswith("Erasing used by LEACE at layer 1")
    (plot,) = [plot for plot in meaningless.plots if plot.title.startswith("used: effect of INLP")]
    assert says in plot.caption
    assert meaningless.figure(meaningless.plots.index(plot)).data


def test_findings_are_sentences_made_from_the_numbers(used: Any, unused: Any) -> None:
    leace, inlp = erasure_findings(used)
    assert f"lowers the margin of the right answers by {one(used, 'effect', method='leace'):.3g} [" in leace
    assert "It is larger than with each of 19 random directions at layer 1." in leace
    assert "(100 % before)" in leace
    assert f"Unrelated text pays {one(used, 'text_kl', method='inlp'):.2g} nats of KL (random directions" in inlp
    assert "At no layer is it larger than with each of 19 random directions." in erasure_findings(unused)[0]


def test_a_finding_compares_sizes_as_p_does(used: Any) -> None:
    where = {"method": "leace", "control": CONTROLS[1]}
    turned = {name: replace(used.values[name], data=-used.values[name].data) for name in ("effect", "random_effect")}
    negative = replace(used, values=used.values | turned)
    assert one(negative, "p", **where) == pytest.approx(1 / 20)
    assert (
        "It is larger, by its size, than with each of 19 random directions at layer 1." in erasure_findings(negative)[0]
    )
    large = replace(
        used.values["random_effect"],
        data=-2 * used.values["effect"].data.abs().max().expand_as(used.values["random_effect"].data),
    )
    draws = used.values | {"random_effect": large}
    p = share_at_least(used.values["effect"].data.expand(len(CONTROLS), -1, -1), large.data)
    beaten = replace(used, values=draws | {"p": replace(used.values["p"], data=p)})
    assert "At no layer is it larger than with each of 19" in erasure_findings(beaten)[0]


def test_a_finding_says_where_the_model_only_guesses(used: Any) -> None:
    assert "does not have this behaviour" not in erasure_findings(used)[0]
    right = replace(used.values["unchanged_right"], data=torch.tensor(0.5))
    guessing = replace(used, values=used.values | {"unchanged_right": right})
    assert "right in 50 % only: it does not have this behaviour" in erasure_findings(guessing)[0]


def test_the_last_block_is_called_what_it_is(used: Any) -> None:
    says = "layer 1 is the last block, whose output goes straight to the prediction"
    assert [note for note in used.settings["notes"] if note.startswith(says)]
    assert all(f" But {says}" in told for told in erasure_findings(used))
    quick = {"answers": ANSWERS, "n_test": 20, "n_random": 1}
    steered = steer_along(model(), examples("used"), layers=[0, 1], strengths=[1], **quick)
    assert [note for note in steered.settings["notes"] if note.startswith(says)]
    nearer = replace(steered.values["effect"], data=steered.values["effect"].data + torch.tensor([[1.0], [0.0]]))
    at_zero = replace(steered, values=steered.values | {"effect": nearer})
    assert "Moving states at layer 0" in steering_findings(at_zero)[0]
    assert "last block" not in steering_findings(at_zero)[0]
    exchanged = align(model(), examples("used"), n_pairs=24, epochs=1, arbitrary=False, **quick, layers=[1])
    assert f" But {says}" in alignment_findings(exchanged)[0]
    for asked in ({"layers": [0]}, {"layers": [1], "site": "attn_out"}):
        found = steer_along(model(), examples("used"), strengths=[1], **quick, **asked)
        assert not any("last block" in told for told in (*found.settings["notes"], *steering_findings(found)))


def test_the_last_block_at_an_earlier_token_than_the_one_read_has_no_effect_and_the_result_says_so() -> None:
    data = examples("used")
    longer = replace(data, tokens=prompt_tokens(torch.cat([data.tokens, data.tokens[:, :1]], dim=1)))
    found = steer_along(model(), longer, strengths=[1], n_random=1, layers=[1], n_test=20, answers=ANSWERS)
    assert one(found, "effect", strength="1") == 0
    assert any("a change there has no effect, whatever the model uses" in note for note in found.settings["notes"])


def test_a_layer_that_dwarfs_the_others_gets_a_scale_of_roots_which_is_said() -> None:
    axis, small = Axis("layer", (0, 1, 2)), torch.tensor([0.01, 0.02, 0.02])
    for last, rooted in ((2.0, True), (0.05, False)):
        data = torch.tensor([0.01, 0.02, last])
        plot = curve_plot(
            {}, "c", [Curve("a", data, data, data), Curve("b", *[small] * 3)], axis, "nats", uneven="x", caption="It."
        )
        assert (plot.options.get("y_scale") == "root") == rooted
        assert ("scale of square roots, since one layer is far larger" in plot.caption) == rooted


def test_the_kept_eraser_is_the_one_that_was_tried(used: Any) -> None:
    data = examples("used")
    with interp.intervene(model(), used.intervention(1, "leace", positions=1)):
        logits = model()(data.tokens)[:, -1]
    yes, no = ANSWERS.of["plus"][0], ANSWERS.of["minus"][0]
    assert float((logits[:, yes] - logits[:, no]).abs().max()) < 0.1 * MARGIN
    prepared = prepare(model(), data, Question(layers=[1], answers=ANSWERS))
    for method in ("leace", "inlp"):
        tried = fit_eraser(prepared, method, 0, used.settings["max_rank"])
        torch.testing.assert_close(used.eraser(1, method)(prepared.x[0]), tried(prepared.x[0]), rtol=0, atol=1e-6)
    assert used.eraser(1, "inlp").rank == int(one(used, "rank", method="inlp"))


def test_results_are_saved_and_drawn(used: Any, tmp_path: Path) -> None:
    assert results.load(used.save(tmp_path / "used")).equal(used)
    for i, plot in enumerate(used.plots):
        assert used.figure(i).data
        assert plot.caption
    assert "random, same rank and size" in used.values["curves: effect of leace"].axis("curve").labels


@pytest.mark.parametrize("probe", ["mean_difference", "logistic"])
def test_steering_moves_the_margin_as_far_as_the_strength_says(probe: str) -> None:
    found = steer_along(model(), examples("used"), probe=probe, strengths=(-1, 0.5, 1), **QUICK)
    along = abs(float(found.values["direction"].data[0, 0])) * float(found.values["distance"].data[0])
    for strength in (-1, 0.5, 1):
        expected = strength * along * 2 * GAIN  # both logits move, by GAIN each
        assert one(found, "effect", strength=f"{strength:g}") == pytest.approx(expected, rel=1e-3)
    assert one(found, "effect", strength="1") == pytest.approx(2 * MARGIN, rel=0.1)
    assert one(found, "turned", strength="1") == 1
    assert one(found, "turned", strength="-1") == 0
    assert one(found, "p", strength="1") == pytest.approx(1 / 20)
    (told,) = steering_findings(found)
    assert "turns the margin of the right answers (4 logits) by" in told
    assert "100 % of the answers are those of the other class (0 % before)" in told
    index = examples("used").classes.index("plus")
    with interp.intervene(model(), found.intervention(1, 1.0, positions=1)):
        logits = model()(examples("used").tokens)[:, -1]
    column = ANSWERS.of[("minus", "plus")[index]][0]
    assert bool((logits.argmax(1) == column).all())


def test_steering_along_what_is_not_used_turns_nothing() -> None:
    found = steer_along(model(), examples("unused"), strengths=(1, 2), **QUICK)
    for strength in ("1", "2"):
        assert abs(one(found, "effect", strength=strength)) < 0.02 * MARGIN
        assert one(found, "text_kl", strength=strength) < 1e-3


def test_a_learnt_subspace_brings_the_other_answer() -> None:
    found = align(model(), examples("used"), n_pairs=96, **QUICK)
    for subspace in (LEARNT, MEANS, WHOLE):
        assert one(found, "accuracy", subspace=subspace) > 0.95
        assert one(found, "kept", subspace=subspace) > 0.95
    assert one(found, "effect", subspace=WHOLE) == pytest.approx(2 * MARGIN)
    assert abs(float(found.values["basis"].data[0, 0, 0])) > 0.9
    assert float(found.values["random_accuracy"].data.max()) < 0.1
    assert one(found, "p", control=CONTROLS[0]) == pytest.approx(1 / 20)
    fitted = found.values["fitted_accuracy"].sel(layer=1)
    assert float(fitted.sel(answers="true").data) > 0.95
    assert float(fitted.sel(answers="arbitrary").data) < 0.8
    assert not [note for note in found.settings["notes"] if "Makelov" in note]
    (told,) = alignment_findings(found)
    assert "Exchanging 1 learnt dimension of the state at layer 1 between prompts" in told
    assert "(0 % before; whole state 100 %, class means 100 %, random directions that move states as far 0 %)" in told


def test_the_search_finds_an_illusion_where_nothing_is_used_and_says_so() -> None:
    found = align(model(), examples("unused"), n_pairs=96, arbitrary=False, **QUICK)
    assert one(found, "accuracy", subspace=WHOLE) < 0.65
    assert abs(one(found, "effect", subspace=MEANS)) < 0.05
    assert one(found, "accuracy", subspace=LEARNT) > one(found, "accuracy", subspace=WHOLE) + 0.1
    assert [note for note in found.settings["notes"] if "at layer 1" in note and "Makelov" in note]


def test_a_task_without_answers_is_measured_by_kl_and_says_so() -> None:
    data = embedding_side(tiny("llama"))
    found = amnesic(tiny("llama"), data, methods=["leace"], layers=[0, 3], n_test=30, n_random=6, text="random")
    assert found.values["effect"].unit == "nats"
    assert "right" not in found.values
    assert bool((found.values["effect"].data > 0).all())
    torch.testing.assert_close(found.values["effect"].data, found.values["kl"].data)
    assert any("KL divergence" in note for note in found.settings["notes"])
    with pytest.raises(InputError, match="has none; give answers="):
        align(tiny("llama"), data, n_test=10, text="random")


def test_erase_alone_runs_no_behaviour() -> None:
    found = erase(model(), examples("used"), layers=[0, 1], max_rank=3)
    assert found.values["rank"].data[1].max() <= 3
    assert "effect" not in found.values
    assert found.values["moved"].data.max() < 1


def test_p_values_count_draws_that_are_as_large() -> None:
    draws = torch.tensor([[0.1, -3.0, 0.2, 1.0], [0.1, 0.2, 0.3, 0.4]])
    torch.testing.assert_close(share_at_least(torch.tensor([1.0, -2.0]), draws), torch.tensor([3 / 5, 1 / 5]))
    assert bool(share_at_least(torch.tensor([1.0]), torch.zeros(1, 0)).isnan().all())
    assert bool(share_at_least(torch.tensor([math.nan]), torch.zeros(1, 3)).isnan().all())


def test_partners_are_of_the_class_that_is_asked_for() -> None:
    labels = torch.tensor([0, 1, 0, 2, 1, 0, 2])
    same, other = partners(labels, True, 0), partners(labels, False, 0)
    assert torch.equal(labels[same], labels)
    assert not (same == torch.arange(7)).any()
    assert not (labels[other] == labels).any()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"layers": [7]}, "layer 7 of 'resid_post' does not exist"),
        ({"site": "resid_pots"}, "no site called 'resid_pots'"),
        ({"position": "end"}, "no position 'end'"),
        ({"max_rank": 99}, "max_rank=99 does not fit: activations here have 30 dimensions"),
        ({"methods": ["leece"]}, "did you mean 'leace'"),
        ({"methods": []}, "at least one of leace, inlp"),
        ({"n_test": 0}, "n_test=0"),
    ],
)
def test_mistakes_are_refused_in_one_sentence(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        amnesic(model(), examples("used"), **{"answers": ANSWERS, **asked})


def test_one_class_and_more_than_two_are_refused_where_they_make_no_sense() -> None:
    data = examples("used")
    with pytest.raises(InputError, match="at least two classes"):
        erase(model(), data.only(["plus"]))
    tokens = torch.randint(3, 90, (60, 4), generator=torch.Generator().manual_seed(0))
    three = labelled_tokens(tokens, ["abc"[i % 3] for i in range(60)], torch.full((60,), 3))
    with pytest.raises(InputError, match="there are 3; choose two"):
        steer_along(tiny("llama"), three, layers=[0], text="random")
    with pytest.raises(InputError, match="rank=31 does not fit"):
        align(model(), data, rank=31, answers=ANSWERS)
    with pytest.raises(InputError, match="'z' has heads"):
        align(model(), data, site="z", answers=ANSWERS)
    with pytest.raises(InputError, match="strengths"):
        steer_along(model(), data, strengths=(), answers=ANSWERS)
    with pytest.raises(InputError, match="answers for 'minos'"):
        align(model(), data, answers=Answers({"plus": (1,), "minos": (2,)}))
