"""`HeadRoles`: the heads of every role with the numbers that put them there, and important heads that fit none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

import pandas as pd
import torch

from interp.hooks.head_names import Head, head_name
from interp.models import identity
from interp.reproduce import ioi_roles as rules
from interp.reproduce.ioi_evidence import Evidence, in_words
from interp.reproduce.ioi_roles import Rule
from interp.reproduce.ioi_words import percent
from interp.results import Axis, Plot, Result, Values
from interp.runs import provenance
from interp.tasks import PromptPairs

MAX_UNASSIGNED = 15
_AT_END = ("end to IO", "end to S", "end to end")
READINGS = {
    rules.VALUES: ("S2 to S1", "S2 to S1+1"),
    rules.KEYS: ("S1+1 to S1",),
}
"""Which attention tells what a head without a role looks at, by its effect; from the end for all other effects."""


class HeadRoles(Result):
    """value, low, high [head, measure]: what was measured of every head that has a role or an effect that counts, with
    its 95 % interval; NaN where it was not measured. share [head, measure]: effects as shares of the logit difference.
    bears [head, label]: 1 where a head meets a label's rule.
    """

    kind: ClassVar[str] = "head_roles"

    @property
    def labels(self) -> dict[str, tuple[Head, ...]]:
        """The heads of every label, those with the largest effect first."""
        return _as_heads(self.settings["labels"])

    @property
    def roles(self) -> dict[str, tuple[Head, ...]]:
        """The heads of the circuit's seven roles: labels that serve one purpose stand together."""
        return rules.roles_of(self.labels)

    def effect(self, label: str, head: Head) -> tuple[float, float, float]:
        """The effect by which a head has its label, with its interval: (mean, low, high)."""
        name = next(rule.effect for rule in rules.RULES if rule.label == label)
        return tuple(float(self.values[part].sel(head=head_name(head), measure=name).data) for part in _PARTS)  # type: ignore[return-value]

    def table(self) -> pd.DataFrame:
        """One row for every head of every label: its effect, the share that is, and what else the rule asks for."""
        rows = []
        for rule in rules.RULES:
            for head in self.labels[rule.label]:
                rows.append({"role": rule.label, "head": head_name(head), **self._row(head, rule)})
        return pd.DataFrame(rows, columns=["role", "head", "effect (logits)", "share", "what it looks at and does"])

    def unassigned(self) -> pd.DataFrame:
        """Heads with an effect that counts and no role: the effect, where they look, what the nearest rule misses."""
        return self._without_role(lambda label: label is not None)

    def unforeseen(self) -> pd.DataFrame:
        """Heads with an effect that counts in a way that no role is about: the effect, and where they look."""
        return self._without_role(lambda label: label is None)

    def _without_role(self, wanted: Callable[[str | None], bool]) -> pd.DataFrame:
        rows = []
        for name, effect, label, missed in self.texts["unassigned"]:
            if not wanted(label):
                continue
            shown = [f"{pair} {self._told(name, pair)}" for pair in READINGS.get(effect, _AT_END)]
            row = {
                "head": name,
                "effect (logits)": self._told(name, effect, signed=True),
                "of": f"{effect} (n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{self.settings['n'][effect]})",
                "attention": "; ".join(shown),
            }
            rows.append(row | ({"nearest rule": label, "what it lacks": "; ".join(missed)} if label else {}))
        return pd.DataFrame(rows)

    def _row(self, head: Head, rule: Rule) -> dict[str, str]:
        name = head_name(head)
        used = dict.fromkeys(use for condition in rule.looks for use in sorted(condition.uses, key=len))
        share = float(self.values["share"].sel(head=name, measure=rule.effect).data)
        return {
            "effect (logits)": self._told(name, rule.effect, signed=True),
            "share": percent(share),
            "what it looks at and does": "; ".join(f"{use} {self._told(name, use)}" for use in used),
        }

    def _told(self, head: str, measure: str, signed: bool = False) -> str:
        mean, low, high = (float(self.values[part].sel(head=head, measure=measure).data) for part in _PARTS)
        return in_words(mean, low, high, signed)


_PARTS = ("value", "low", "high")


def head_roles(model: Any, task: PromptPairs, evidence: Evidence) -> HeadRoles:
    """Apply the rules to what was measured. task: the IOI prompts, for the provenance."""
    started = datetime.now()
    labels = rules.labelled(evidence)
    heads, unassigned = _chosen(labels, evidence)
    axes = (Axis("head", tuple(map(head_name, heads))), Axis("measure", tuple(evidence)))
    values = {name: _stacked(evidence, part, heads, axes) for name, part in zip((*_PARTS, "share"), _FIELDS)}
    bears = torch.tensor([[float(head in labels[rule.label]) for rule in rules.RULES] for head in heads])
    label = Axis("label", tuple(rule.label for rule in rules.RULES))
    values["bears"] = Values(bears.view(len(heads), len(rules.RULES)), (axes[0], label), "", "1 where the rule is met")
    return HeadRoles(
        values=values,
        settings={
            "labels": {name: [list(head) for head in found] for name, found in labels.items()},
            "rules": {rule.label: [one.words for one in rule.conditions] for rule in rules.RULES},
            "n": {name: measured.n for name, measured in evidence.items()},
            "logit_difference": {name: one.whole for name, one in evidence.items() if one.whole is not None},
        },
        provenance=provenance(model=identity(model), task=task.describe(), seed=task.seed, started=started),
        plots=(_plot(),),
        texts={"unassigned": unassigned},
    )


_FIELDS = ("mean", "low", "high", "share")


def _chosen(labels: Mapping[str, Sequence[Head]], evidence: Evidence) -> tuple[list[Head], list[list[Any]]]:
    """Heads worth a row, and of those without a role: [name, effect, nearest label or None, what it misses]."""
    assigned = list(dict.fromkeys(head for rule in rules.RULES for head in labels[rule.label]))
    unassigned = []
    others = [item for item in rules.important(evidence).items() if item[0] not in assigned]
    for head, effect in others[:MAX_UNASSIGNED]:
        label, missed = rules.nearest_rule(evidence, head, effect) or (None, [])
        unassigned.append([head_name(head), effect, label, missed])
    return assigned + [head for head, _ in others[:MAX_UNASSIGNED]], unassigned


def _stacked(evidence: Evidence, part: str, heads: Sequence[Head], axes: tuple[Axis, ...]) -> Values:
    columns = [getattr(measured, part) for measured in evidence.values()]
    data = torch.tensor([[float(column[head]) for column in columns] for head in heads])
    return Values(data.view(len(heads), len(columns)), axes)


def _as_heads(given: Any) -> dict[str, tuple[Head, ...]]:
    return {label: tuple((int(layer), int(head)) for layer, head in heads) for label, heads in given.items()}


def _plot() -> Plot:
    return Plot(
        "table",
        "value",
        x="measure",
        y="head",
        title="What was measured of the heads",
        caption="Every measure of every head that has a role or an effect that counts.",
        low="low",
        high="high",
    )


def rule_table() -> pd.DataFrame:
    """The rules in words: a row a label."""
    rows = [
        {
            "role": rule.label,
            "class in a circuit": rule.role,
            "holds when all of this does": "; ".join(condition.words for condition in rule.conditions),
            "Wang et al.": rule.source,
        }
        for rule in rules.RULES
    ]
    return pd.DataFrame(rows)
