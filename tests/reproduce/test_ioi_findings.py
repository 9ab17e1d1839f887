"""The sentences of the IOI report, from numbers made by hand: what is found, what is not, and what cannot be told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import torch

from interp.circuits import CircuitReport, HeadFaithfulness
from interp.errors import InputError
from interp.patching import PatchingResult
from interp.reproduce import ioi_behaviour, ioi_components, ioi_edges, ioi_maps, ioi_summary
from interp.reproduce import ioi_roles as rules
from interp.reproduce.ioi_backups import _values
from interp.reproduce.ioi_circuit_judged import random_words
from interp.reproduce.ioi_discovery import FoundHeads, role_words
from interp.reproduce.ioi_orders import EffectsByOrder
from interp.reproduce.ioi_paths import path_words
from interp.reproduce.ioi_role_table import head_roles
from interp.reproduce.ioi_settings import IoiSettings
from interp.reproduce.ioi_words import few, percent, percents, show, told
from interp.results import Axis, Plot, Result, Values, bootstrap_interval
from interp.runs import provenance
from interp.viz import Report
from tests.reproduce.test_ioi_roles import KNOWN, evidence, for_toy_task
from tests.tiny_models import tiny

NAMES = ("effect", "low", "high")


def made(kind: type[Any], values: Mapping[str, Values], settings: Mapping[str, Any] | None = None, **more: Any) -> Any:
    source = provenance(model={}, started=datetime.now(UTC))
    return kind(values=dict(values), settings=dict(settings or {}), provenance=source, **more)


def with_ends(name: str, data: Any, axes: tuple[Axis, ...], width: float = 0.1, prefix: str = "") -> dict[str, Values]:
    mean = torch.as_tensor(data, dtype=torch.float32)
    return {
        name: Values(mean, axes),
        f"{prefix}low": Values(mean - width, axes),
        f"{prefix}high": Values(mean + width, axes),
    }


def axis(name: str, labels: int | Sequence[str | int]) -> Axis:
    return Axis(name, tuple(range(labels)) if isinstance(labels, int) else tuple(labels))


# ---- few prompts -----------------------------------------------------------------------------------------------------


def test_what_is_said_of_few_prompts_depends_on_their_number() -> None:
    assert "too few for an interval" in few(4)
    assert few(5) == few(5, "prompts") != ""
    assert "Do not trust" in few(7)
    assert few(8) == ""


def test_no_interval_is_printed_where_there_is_none() -> None:
    one = Values(torch.tensor(1.5), ())
    nothing = Values(torch.tensor(math.nan), ())
    assert told({"effect": one, "low": nothing, "high": nothing}, NAMES, signed=True) == "+1.50"
    assert told({"effect": one, "low": one, "high": one}, NAMES) == "1.50 [1.50, 1.50]"
    assert percents(math.nan, math.nan) == ""
    assert percent(math.nan).startswith("undefined")
    assert percent(-0.005) != percent(0.005)


def test_a_figure_of_few_prompts_has_no_bounds_and_says_why() -> None:
    plot = Plot("bars", "effect", x="head", low="low", high="high", caption="What is plotted.")
    found = made(Result, with_ends("effect", [1.0, 2.0], (axis("head", 2),)), plots=(plot,))
    for n, caution in ((4, "too few for an interval"), (6, "Do not trust"), (20, "")):
        report = Report("few").section("s", "t")
        show(report, found, ["What it shows."], n)
        assert ('"error_y"' in report.html) == (n >= 5)
        assert "What it shows." in report.html
        assert "What is plotted." not in report.html
        assert caution in report.html
        assert ("Caveat." in report.html) == bool(caution)


@pytest.mark.parametrize("n", [-1, 0, 1])
def test_settings_that_measure_nothing_are_refused_at_once(n: int) -> None:
    with pytest.raises(InputError, match=f"n = {n} is too few prompts"):
        IoiSettings(n=n)
    assert min(value for name, value in vars(IoiSettings.quick()).items() if name.startswith("n")) >= 5


# ---- behaviour and lens ----------------------------------------------------------------------------------------------


def behaviour(lead: float, width: float, n: int = 20) -> Result:
    axes = (axis("measure", ("logit_difference", "accuracy")), axis("side", ("clean", "corrupt")))
    mean = torch.tensor([[lead, 0.1], [0.9, 0.5]])
    values = {"mean": Values(mean, axes), "low": Values(mean - width, axes), "high": Values(mean + width, axes)}
    per_example = Values(torch.zeros(2, 2, n), (*axes, axis("example", n)))
    return made(Result, values | {"per_example": per_example})


def test_the_verdict_on_the_task() -> None:
    does = behaviour(3.0, 0.5)
    assert "does the task" in ioi_behaviour.verdict(does, 20)
    assert "3.00 [2.50, 3.50]" in ioi_behaviour.verdict(does, 20)
    assert ioi_behaviour.does_it(does)
    for lead, width, words in ((0.2, 0.5, "does not do the task reliably"), (-2.0, 0.5, "does the opposite")):
        assert words in ioi_behaviour.verdict(behaviour(lead, width), 20)
        assert not ioi_behaviour.does_it(behaviour(lead, width))
    unknown = ioi_behaviour.verdict(behaviour(3.0, math.nan), 3)
    assert "3 prompts are too few" in unknown
    assert "does" not in unknown
    assert "[" not in unknown


def lens_of(line: list[float], width: float, log_prob: list[float]) -> Result:
    layers = (axis("layer", len(line)),)
    both = torch.tensor([log_prob, [x - 1 for x in log_prob]]).T
    values = with_ends("logit_difference", line, layers, width)
    values |= with_ends("log_prob", both, (*layers, axis("target", ("answer", "distractor"))), 0.1, "log_prob_")
    return made(Result, values | with_ends("entropy", [5.0] * len(line), layers, 0.1, "entropy_"))


def test_where_the_answer_appears() -> None:
    found = lens_of([0.0, 3.0, 0.5, 4.0, 4.2], 0.1, [-9.0, -9.0, -9.0, -9.0, -1.0])
    words = ioi_behaviour.appears(found)
    assert "from layer 3 (of 4) on" in words  # at layer 1 it led, and lost its lead again
    assert "block 2, from 0.50 [0.40, 0.60] to 4.00" in words
    nothing = lens_of([0.0, 0.1, 0.0], 0.5, [-9.0, -9.0, -9.0])
    assert "no clear lead at the output" in ioi_behaviour.appears(nothing)


def test_whether_the_names_are_predicted() -> None:
    late = ioi_behaviour._predicted(lens_of([0.0, 1.0, 2.0], 0.1, [-9.0, -9.0, -1.0]))
    assert "before layer 2" in late
    assert "37\N{NO-BREAK SPACE}% [33, 41]" in late
    assert "Neither name" in ioi_behaviour._predicted(lens_of([0.0, 1.0, 2.0], 0.1, [-9.0, -9.0, -8.0]))


# ---- attribution, maps, paths ----------------------------------------------------------------------------------------


def by_head(effects: dict[tuple[int, int], float], width: float = 0.1) -> Result:
    data = torch.zeros(3, 4)
    for head, size in effects.items():
        data[head] = size
    values = with_ends("contribution", data, (axis("layer", 3), axis("head", 4)), width)
    return made(Result, values | {"total": Values(torch.tensor(4.0), ())})


def test_which_heads_write() -> None:
    some = ioi_components.head_words(by_head({(2, 1): 2.0, (1, 0): -0.5, (0, 3): 0.19}))
    assert "1 write at least 5\N{NO-BREAK SPACE}%" in some
    assert "2.1 (+2.00 [+1.90, +2.10])" in some
    assert "1 as much against it, 1.0 (−0.50" in some
    none = ioi_components.head_words(by_head({(2, 1): 2.0}, width=3.0))  # large, and not sure
    assert none.startswith("None of the 12 heads")
    assert "2.1 (+2.00 [−1.00, +5.00])" in none
    assert "no head against" in ioi_components._map(by_head({(2, 1): 2.0}))


def patched(data: Any, axes: tuple[Axis, ...], whole: float, width: float = 0.1) -> PatchingResult:
    examples = (axis("example", 2),)
    ends = {"clean": Values(torch.full((2,), whole), examples), "corrupt": Values(torch.zeros(2), examples)}
    return made(PatchingResult, with_ends("effect", data, axes, width) | ends)


def test_where_the_information_is() -> None:
    axes = (axis("layer", 3), axis("role", ("IO", "S2", "end")))
    words = ioi_maps.stream_words(patched([[3.0, -2.0, 0.0], [3.1, 1.0, 0.5], [0.0, 0.0, 3.0]], axes, 4.0))
    assert "IO up to layer 1 (most at layer 1: +3.10" in words
    assert "S2 up to layer 1 (most at layer 0: −2.00 [−2.10, −1.90], the other way at layer 1: +1.00" in words
    assert "half of the 4.00 logits or more from layer 2 on" in words
    never = ioi_maps.stream_words(patched(torch.zeros(3, 3), axes, 4.0))
    assert "matters at no name; at no layer does the end" in never
    assert "nothing to restore" in ioi_maps.stream_words(patched(torch.zeros(3, 3), axes, -1.0))


def test_which_heads_restore() -> None:
    axes = (axis("layer", 2), axis("head", 2))
    words = ioi_maps.head_words(patched([[0.0, 2.0], [-1.0, 0.1]], axes, 4.0))
    assert "1 restore at least 5" in words
    assert "0.1 (+2.00" in words
    assert "1 take as much away, above all 1.0" in words
    assert ioi_maps.head_words(patched([[0.0, 2.0], [0.0, 0.0]], axes, 4.0, width=9.0)).startswith("No single head")


def test_which_path_carries_most() -> None:
    seen = evidence({(3, 0): {rules.LOGITS: 1.0}, (3, 1): {rules.LOGITS: -0.8}})[rules.LOGITS]
    words = path_words(seen, rules.LOGITS, "the logits")
    assert words.startswith("Into the logits, 3.0 (+1.00 [+0.90, +1.10]) carries most")
    assert "3.1 (−0.80 [−0.90, −0.70]) works most against it" in words
    assert path_words(evidence({})[rules.LOGITS], rules.LOGITS, "the logits").startswith(
        "No path into the logits counts"
    )


@pytest.mark.parametrize(
    ("effect", "n", "words"),
    [
        ([[1.0, 1.0], [1.0, 0.0]], 6, "1 of the 2 largest heads writes in one order of the names only"),
        ([[1.0, 1.0], [1.0, 0.9]], 6, "None of the 2 largest heads writes in one order"),
        ([[1.0, 1.0], [1.0, 0.0]], 4, "too few to tell"),
    ],
)
def test_heads_of_one_order(effect: Any, n: int, words: str) -> None:
    axes = (axis("order", ("BABA", "ABBA")), axis("head", ("0.0", "0.1")))
    found = made(EffectsByOrder, with_ends("effect", effect, axes), {"n": {"BABA": n, "ABBA": n}})
    assert words in found.told()
    assert f"{n} BABA and {n} ABBA" in found.told()


def test_overlapping_intervals_are_not_one_order() -> None:
    axes = (axis("order", ("BABA", "ABBA")), axis("head", ("0.0",)))
    found = made(EffectsByOrder, with_ends("effect", [[1.0], [0.1]], axes, 0.6), {"n": {"BABA": 15, "ABBA": 15}})
    assert not found.one_sided


# ---- the circuit -----------------------------------------------------------------------------------------------------


def faithful(draws: list[float] | None) -> HeadFaithfulness:
    n = 10
    runs = axis("run", ("whole model", "circuit", "nothing kept"))
    each = torch.tensor([4.0, 3.0, 0.0])[:, None] + torch.linspace(-0.1, 0.1, n)
    values = {"per_prompt": Values(each, (runs, axis("example", n)))}
    if draws is not None:
        values["random"] = Values(torch.tensor([draws]), (axis("circuit", ("circuit",)), axis("draw", len(draws))))
        values["p_value"] = Values(
            torch.tensor([[0.2, 0.2]]), (axis("circuit", ("circuit",)), axis("test", ("a", "b")))
        )
    return made(HeadFaithfulness, values, {"n_random_prompts": 6})


def test_random_circuits_below_nothing_are_not_hidden() -> None:
    words = random_words(faithful([-2.0, -1.0, -1.5, -1.7]))
    assert "4 random circuits" in words
    assert "first 6 of these prompts" in words
    assert "nothing kept leaves −0.04 [" in words  # on those six prompts, not on all
    assert "4 of 4 do worse than no heads at all" in words
    assert "is not measured in this run" in words
    assert "worse than no heads" not in random_words(faithful([0.5, 1.0, 0.7, 0.8]))
    assert "1 of 4 do as well" in random_words(faithful([0.5, 3.5, 0.7, 0.8]))
    assert random_words(faithful(None)) == ""


def curve(kept: list[float]) -> CircuitReport:
    sizes = axis("edges", (10, 20, 50, 100))
    data = torch.tensor([kept])
    values = {f"curve{end}": Values(data + shift, (axis("series", 1), sizes))
              for end, shift in (("", 0.0), ("_low", -0.1), ("_high", 0.1))}  # fmt: skip
    return made(CircuitReport, values | {"model": Values(torch.zeros(6), (axis("example", 6),))})


def test_the_smallest_circuit_of_edges() -> None:
    words = ioi_edges.smallest_words(curve([0.1, 0.9, 0.7, 1.0]))
    assert "has 20 edges (20 %) and keeps 0.90 [0.80, 1.00]; from 100 edges on all do" in words
    assert "from" not in ioi_edges.smallest_words(curve([0.1, 0.9, 0.85, 1.0]))
    assert "No circuit of the curve" in ioi_edges.smallest_words(curve([0.1, 0.2, 0.3, 1.0]))


# ---- roles and the abstract ------------------------------------------------------------------------------------------


def found_heads(heads: dict[tuple[int, int], dict[str, float]]) -> FoundHeads:
    seen = evidence(heads)
    return FoundHeads(head_roles(tiny("gpt2"), for_toy_task(), seen), seen, None)


EVERY = {head: said for head, (_, said) in KNOWN.items()}


def test_the_abstract_tells_the_chain_backwards() -> None:
    found = found_heads(EVERY)
    text = ioi_summary.summary(behaviour(3.0, 0.5), found, None, None)
    order = ["does the task", "positive name writers: 3.1 (+2.00", "negative name writers: 3.2", "S-inhibition",
             "1.0 (+0.50", "0.1 (+0.30", "previous-token head", "Unlike the paper"]  # fmt: skip
    places = [text.index(words) for words in order]
    assert places == sorted(places)  # the subject suppressor first: its effect is the largest
    assert "Not found" not in text
    assert "3.1 is of a kind that the paper does not have (subject suppressor)" in text


def test_the_abstract_names_missing_links_and_what_turns() -> None:
    turning = KNOWN[3, 2][1] | {rules.RISE: 0.5, rules.AFTER: 0.2}
    text = ioi_summary.summary(behaviour(3.0, 0.5), found_heads({(3, 2): turning}), None, None)
    assert "No positive name writer was found" in text
    assert "Not found: S-inhibition heads, induction heads, duplicate-token heads and previous-token heads" in text
    assert "negative name mover 3.2 turns into a backup" in text
    assert "no name movers, S-inhibition heads, induction heads, duplicate-token heads or previous-token heads" in text


def test_the_abstract_of_a_model_in_which_nothing_was_found() -> None:
    none = ioi_summary.summary(behaviour(3.0, 0.5), found_heads({}), None, None)
    assert "was not found in it" in none
    assert "Unlike" not in none
    fails = ioi_summary.summary(behaviour(-2.0, 0.5), found_heads({}), None, None)
    assert "does the opposite" in fails
    assert "There is no behaviour here" in fails
    assert role_words(found_heads({}).roles).startswith("0 heads have a role")


def test_roles_in_words() -> None:
    words = role_words(found_heads({head: EVERY[head] for head in ((3, 0), (1, 0))}).roles)
    assert words.startswith("2 heads have a role: name mover 3.0; induction head 1.0.")
    assert "None was found for: subject suppressors," in words


def test_a_change_of_the_whole_has_its_interval() -> None:
    """What ablation does to the logit difference itself is told with an interval, so it has to be stored."""
    was, now = torch.randn(12, 2, 2), torch.randn(12, 2, 2)
    totals = torch.stack([was.sum((1, 2)), now.sum((1, 2))], dim=1)
    values = _values(was, now, torch.linspace(1, 1.2, 12), totals)
    low, high = bootstrap_interval(totals[:, 1], 0)
    torch.testing.assert_close(values["total_low"].sel(when="after").data, low, rtol=0.1, atol=0.1)
    torch.testing.assert_close(values["total"].data, totals.mean(0))
    assert values["factor_low"].data < values["factor"].data < values["factor_high"].data
    assert high > low
