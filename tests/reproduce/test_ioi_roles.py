"""The rules on hand-made measurements: who gets which role, who gets none, and what is said of those."""

from __future__ import annotations

import pytest
import torch

from interp.reproduce import ioi_roles as rules
from interp.reproduce.ioi_evidence import Measured
from interp.reproduce.ioi_role_table import head_roles, rule_table
from interp.results import load
from interp.tasks import for_toy
from tests.tiny_models import tiny

WHOLE = 4.0
SHAPE = (4, 3)  # layers, heads
PLAIN = {  # attention between the tokens and the rest, of a head that does nothing in particular
    **dict.fromkeys(("end to IO", "end to S", "end to S2", "end to end", "S2 to S1", "S2 to S1+1", "S1+1 to S1"), 0.05),
    "S2 to S1" + rules.BEYOND: 0.0,
    "S2 to S1+1" + rules.BEYOND: 0.0,
    rules.COPIES: 0.1,
    rules.SUPPRESSES: 0.1,
    rules.PREVIOUS: 0.05,
    rules.AFTER: 0.0,
}  # fmt: skip
EFFECTS = (rules.DIRECT, rules.LOGITS, rules.QUERIES, rules.VALUES, rules.KEYS, rules.RISE)


def evidence(heads: dict[tuple[int, int], dict[str, float]], width: float = 0.1) -> dict[str, Measured]:
    """What is said of some heads over what is plain; effects in logits, every interval `width` to either side."""
    found = {}
    for name in (*PLAIN, *EFFECTS):
        mean = torch.full(SHAPE, PLAIN.get(name, 0.0))
        for head, said in heads.items():
            mean[head] = said.get(name, float(mean[head]))
        whole = WHOLE if name in EFFECTS or name == rules.AFTER else None
        found[name] = Measured(mean, mean - width, mean + width, n=8, whole=whole)
    return found


KNOWN = {
    (0, 0): ("previous token", {rules.KEYS: 0.2, "S1+1 to S1": 0.9, rules.PREVIOUS: 0.8}),
    (0, 1): ("duplicate token", {rules.VALUES: 0.3, "S2 to S1": 0.8, "S2 to S1" + rules.BEYOND: 0.7}),
    (1, 0): ("induction", {rules.VALUES: 0.5, "S2 to S1+1": 0.6, "S2 to S1+1" + rules.BEYOND: 0.6}),
    (2, 0): ("S-inhibition", {rules.QUERIES: 0.4, "end to S2": 0.7, "end to S": 0.75}),
    (3, 0): ("name mover", {rules.LOGITS: 1.0, "end to IO": 0.6, rules.COPIES: 0.95}),
    (3, 1): ("subject suppressor", {rules.LOGITS: 2.0, "end to S": 0.6, rules.SUPPRESSES: 1.0}),
    (3, 2): ("negative name mover", {rules.LOGITS: -0.5, "end to IO": 0.7, rules.SUPPRESSES: 1.0}),
    (2, 1): ("subject mover", {rules.LOGITS: -0.4, "end to S": 0.3, rules.COPIES: 0.9}),
    (2, 2): ("backup name mover", {rules.RISE: 0.3, rules.AFTER: 0.4}),
}


def test_every_rule_finds_its_head_and_no_other() -> None:
    labels = rules.labelled(evidence({head: said for head, (_, said) in KNOWN.items()}))
    assert labels == {label: (head,) for head, (label, _) in KNOWN.items()}
    roles = rules.roles_of(labels)
    assert tuple(roles) == rules.ROLES
    assert roles[rules.POSITIVE] == ((3, 0), (3, 1))  # the paper's own label first, whatever the size
    assert roles[rules.NEGATIVE] == ((3, 2), (2, 1))
    assert "name mover" not in roles  # one name, one meaning: that of the label
    assert roles["induction"] == ((1, 0),)


@pytest.mark.parametrize(("head", "label", "said"), [(head, *known) for head, known in KNOWN.items()])
def test_every_condition_is_needed(head: tuple[int, int], label: str, said: dict[str, float]) -> None:
    """Taking away any of what puts a head under a rule takes it out, and is named as what is missing."""
    rule = next(rule for rule in rules.RULES if rule.label == label)
    for condition in rule.conditions:
        for name in set(condition.uses) & set(said):
            less = {key: value for key, value in said.items() if key != name}
            seen = evidence({head: less})
            assert not rules.labelled(seen)[label], name
            assert any(name in words or words == condition.words for words in rule.missed(seen, head))


def test_an_effect_counts_when_it_is_large_and_sure() -> None:
    said = KNOWN[3, 0][1]
    assert rules.labelled(evidence({(3, 0): said | {rules.LOGITS: rules.MIN_DIRECT_SHARE * WHOLE + 0.01}}))[
        "name mover"
    ]
    assert not rules.labelled(evidence({(3, 0): said | {rules.LOGITS: rules.MIN_DIRECT_SHARE * WHOLE - 0.01}}))[
        "name mover"
    ]
    assert not rules.labelled(evidence({(3, 0): said}, width=1.1))["name mover"]  # the interval holds 0


def test_the_largest_effect_comes_first() -> None:
    said = KNOWN[2, 0][1]
    seen = evidence({(1, 1): said, (2, 0): said | {rules.QUERIES: 0.9}, (1, 2): said | {rules.QUERIES: 0.5}})
    assert rules.labelled(seen)["S-inhibition"] == ((2, 0), (1, 2), (1, 1))


def test_a_duplicate_token_head_looks_for_the_repetition() -> None:
    said = KNOWN[0, 1][1]
    distance = said | {"S2 to S1" + rules.BEYOND: 0.3}  # most of its 0.8 is there without a repetition, too
    assert not rules.labelled(evidence({(0, 1): distance}))["duplicate token"]


def test_what_was_not_measured_gives_no_role() -> None:
    seen = evidence({head: said for head, (_, said) in KNOWN.items()})
    del seen[rules.COPIES], seen[rules.VALUES]
    labels = rules.labelled(seen)
    empty = {label for label, heads in labels.items() if not heads}
    assert empty == {"name mover", "subject mover", "induction", "duplicate token"}


def test_a_model_that_fails_the_task_has_no_roles() -> None:
    seen = evidence({head: said for head, (_, said) in KNOWN.items()})
    for name in EFFECTS:
        seen[name] = Measured(seen[name].mean, seen[name].low, seen[name].high, 8, whole=-1.0)
    assert not any(rules.labelled(seen).values())
    assert not rules.important(seen)


def test_a_head_may_have_several_roles() -> None:
    seen = evidence({(3, 2): KNOWN[3, 2][1] | {rules.RISE: 0.5, rules.AFTER: 0.2}})
    labels = rules.labelled(seen)
    assert labels["negative name mover"] == labels["backup name mover"] == ((3, 2),)


def test_important_heads_without_a_role_are_listed_with_what_they_lack() -> None:
    amplifier = {rules.LOGITS: 1.0, rules.DIRECT: 1.2, "end to end": 0.5, rules.COPIES: 0.9}
    against = {rules.QUERIES: -0.3, "end to S2": 0.5}
    small = {rules.QUERIES: 0.03}
    distance = {rules.VALUES: 0.2, "S2 to S1": 0.6}
    heads = {(3, 0): amplifier, (2, 0): against, (1, 0): small, (1, 1): distance, (3, 2): KNOWN[3, 2][1]}
    seen = evidence(heads, width=0.01)
    counting = {(3, 0): rules.DIRECT, (3, 2): rules.LOGITS, (2, 0): rules.QUERIES, (1, 1): rules.VALUES}
    assert rules.important(seen) == counting
    label, missed = rules.nearest_rule(seen, (3, 0), rules.LOGITS) or ("", [])
    assert label == "name mover"
    assert missed == ["end to IO at least 0.2", "end to IO more than end to S"]
    assert rules.nearest_rule(seen, (2, 0), rules.QUERIES) is None

    model = tiny("gpt2")
    found = head_roles(model, for_toy_task(), seen)
    frame = found.unassigned()
    assert list(frame["head"]) == ["3.0", "1.1"]
    assert frame["nearest rule"].tolist() == ["name mover", "duplicate token"]
    assert frame["attention"].iloc[1] == "S2 to S1 0.60 [0.59, 0.61]; S2 to S1+1 0.05 [0.04, 0.06]"
    assert frame["of"].iloc[1] == f"{rules.VALUES} (n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}8)"
    (row,) = found.unforeseen().to_dict("records")  # no empty cells for what no role is about
    assert (row["head"], row["effect (logits)"]) == ("2.0", "−0.30 [−0.31, −0.29]")
    assert "nearest rule" not in row
    assert found.labels["negative name mover"] == ((3, 2),)


def for_toy_task():
    from interp import load_model

    return for_toy(load_model("toy/induction"), n=2, seed=0)


def test_the_result_is_stored_and_shows_itself(tmp_path) -> None:
    seen = evidence({head: said for head, (_, said) in KNOWN.items()})
    found = head_roles(tiny("gpt2"), for_toy_task(), seen)
    again = load(found.save(tmp_path / "roles"))
    assert again.equal(found)
    assert again.roles == found.roles == rules.roles_of(rules.labelled(seen))
    table = again.table()
    assert len(table) == len(KNOWN)
    row = table[table.role == "subject suppressor"].iloc[0]
    assert row["effect (logits)"] == "+2.00 [+1.90, +2.10]"
    assert row["share"] == "50\N{NO-BREAK SPACE}%"
    assert "end to S 0.60" in row["what it looks at and does"]
    assert "names suppressed 1.00" in row["what it looks at and does"]
    assert again.effect("induction", (1, 0)) == pytest.approx((0.5, 0.4, 0.6))
    assert again.sel(head="3.1", measure="end to S").values["value"].data == pytest.approx(0.6)
    assert again.figure() is not None
    row = table[table.role == "negative name mover"].iloc[0]
    assert (row["effect (logits)"], row["share"]) == ("−0.50 [−0.60, −0.40]", "−12\N{NO-BREAK SPACE}%")
    assert len(rule_table()) == len(rules.RULES)


def test_no_head_at_all_is_a_result_too(tmp_path) -> None:
    found = head_roles(tiny("gpt2"), for_toy_task(), evidence({}))
    assert found.table().empty
    assert found.unassigned().empty
    assert found.unforeseen().empty
    assert not any(found.roles.values())
    assert load(found.save(tmp_path / "none")).roles == found.roles
