"""Which parts write the answer, and what they take it from."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from interp import lens
from interp.hooks.head_names import Head, head_name
from interp.lens import Attribution
from interp.reproduce.experiment import Experiment
from interp.reproduce.ioi_evidence import Measured
from interp.reproduce.ioi_orders import effects_by_order
from interp.reproduce.ioi_roles import MIN_DIRECT_SHARE
from interp.reproduce.ioi_words import largest, listed, names_of, percent, show, standing_out, told
from interp.results import Axis, Result, Values, mean_with_interval
from interp.tasks import PromptPairs

N_WRITERS = 10
"""Heads whose sources are shown."""
CONTRIBUTION = ("contribution", "low", "high")
KINDS = {"a": "attention", "m": "MLPs"}
"""First letter of a component's name -> what it is; anything else is embedding and biases."""


def attribution(experiment: Experiment, task: PromptPairs, n_sources: int) -> Attribution:
    """Attribution by component, by head, and of the largest heads by source and order; returns the one by head."""
    model, report = experiment.model, experiment.report
    parts = experiment.step("components", lambda: lens.direct_attribution(model, task, by="component"))
    by_head = experiment.step("heads", lambda: lens.direct_attribution(model, task, by="head"))
    heads = [(int(row.layer), int(row.head)) for row in by_head.top(N_WRITERS, by="abs").itertuples()]
    some = task[:n_sources]
    sources = experiment.step("sources", lambda: lens.direct_attribution(model, some, by="source", heads=heads))
    orders = experiment.step("orders", lambda: effects_by_order(model, task, by_head, heads))
    report.section(
        "IOI: which parts write the answer",
        f"{head_words(by_head)} {_kinds(parts)}\n\n"
        "The final residual stream is the sum of what every part wrote, so with the final norm's scale held at its "
        f"value the logit difference is a sum over parts ({len(task)} prompts). A head's share comes from the tokens "
        "it attends to: what it takes from IO concerns the indirect object, what it takes from S1 or S2 the subject, "
        "and what it takes from the end itself is what earlier parts wrote there.",
    )
    n_parts = parts.values["contribution"].data.numel()
    shown = f" The {min(20, n_parts)} largest of {n_parts} are shown; a3: attention of block 3, m3: its MLP."
    show(report, parts, [part_words(parts) + shown], len(task))
    show(report, by_head, [_map(by_head), _rest(by_head)], len(task))
    show(report, sources, [source_words(sources, heads[:3])], len(some))
    show(report, orders, [orders.told()], min(orders.settings["n"].values()))
    _number_heads(experiment, by_head, len(task))
    return by_head


def head_words(by_head: Result) -> str:
    """How many heads write for and against the answer, and the largest of them."""
    total = float(by_head.values["total"].data)
    seen = Measured.of(by_head.values, CONTRIBUTION, 0, whole=total)
    up, down = standing_out(seen, MIN_DIRECT_SHARE * abs(total))
    bound = f"{percent(MIN_DIRECT_SHARE)} of the logit difference of {total:.2f}".replace("-", "\N{MINUS SIGN}")
    n_heads = seen.mean.numel()
    if not up and not down:
        head = largest(seen, +1)
        return (
            f"None of the {n_heads} heads writes {bound} or more in either direction with an interval that excludes 0; "
            f"the largest effect for the answer is that of {listed([head], seen)}."
        )
    return (
        f"Of {n_heads} heads {len(up)} write at least {bound} towards the answer, {_first(up, seen)}, and {len(down)} "
        f"as much against it, {_first(down, seen)}."
    )


def _map(by_head: Result) -> str:
    """Which heads stand out on the map, by name."""
    total = float(by_head.values["total"].data)
    seen = Measured.of(by_head.values, CONTRIBUTION, 0, whole=total)
    up, down = standing_out(seen, MIN_DIRECT_SHARE * abs(total))
    share = percent(MIN_DIRECT_SHARE)
    return (
        f"What every head writes to the logit difference itself: {names_of(up) or 'no head'} for the answer and "
        f"{names_of(down) or 'no head'} against it, by {share} of {total:.2f} logits or more."
    )


def _first(heads: Sequence[Head], seen: Measured) -> str:
    if not heads:
        return "so none to name"
    return f"{'first of all ' if len(heads) > 3 else ''}{listed(heads[:3], seen)}"


def part_words(parts: Result) -> str:
    """The components that write most for and against the answer."""
    values = parts.values["contribution"]
    labels = list(values.axis("component").labels)
    best, worst = (labels[int(index)] for index in (values.data.argmax(), values.data.argmin()))
    return (
        f"{best} adds most to the logit difference, {told(parts.values, CONTRIBUTION, signed=True, component=best)} "
        f"logits, and {worst} takes most from it, "
        f"{told(parts.values, CONTRIBUTION, signed=True, component=worst)}."
    )


def _kinds(parts: Result) -> str:
    """What all attention layers, all MLPs and the rest add together."""
    each = parts.values["per_prompt"]
    labels = [str(label) for label in each.axis("component").labels]
    words = []
    for letter, name in (*KINDS.items(), ("", "embedding and biases")):
        rows = [i for i, label in enumerate(labels) if (label[0] if label[1:].isdigit() else "") == letter]
        if rows:
            total = each.data[:, rows].sum(1)
            mean = mean_with_interval(Values(total, (Axis("example", tuple(range(len(total)))),), "logits"))
            words.append(f"{name} {told(mean, ('mean', 'low', 'high'), signed=True)}")
    return f"Added up over all layers: {', '.join(words)}."


def _rest(by_head: Result) -> str:
    values = by_head.values["rest"]
    label = str(values.axis("component").labels[int(torch.nan_to_num(values.data).abs().argmax())])
    size = told(by_head.values, ("rest", "rest_low", "rest_high"), signed=True, component=label)
    share = float(values.data.sum())
    return (
        f"What no head writes comes to {share:+.2f} of {float(by_head.values['total'].data):.2f} logits together; the "
        f"largest single part is {label}, {size}. m3: the MLP of block 3."
    ).replace("-", "\N{MINUS SIGN}")


def source_words(sources: Result, heads: Sequence[Head]) -> str:
    """From which token the largest heads take most of what they write."""
    words = []
    for head in map(head_name, heads):
        row = sources.values["contribution"].sel(head=head)
        label = row.axis("source").labels[int(torch.nan_to_num(row.data).abs().argmax())]
        size = told(sources.values, CONTRIBUTION, signed=True, head=head, source=label)
        words.append(f"{head} from {label} ({size})")
    n = len(sources.values["per_prompt"].data)
    return f"Most of what the largest heads write they take from these tokens: {', '.join(words)} (n = {n})."


def _number_heads(experiment: Experiment, by_head: Attribution, n: int) -> None:
    frame = by_head.to_frame().sort_values("value")
    for rows in (frame.tail(3).iloc[::-1], frame.head(2)):
        for row in rows.itertuples():
            at = by_head.sel(layer=int(row.layer), head=int(row.head)).values
            name = f"direct effect of head {row.layer}.{row.head}"
            experiment.number(name, at["contribution"], at["low"], at["high"], n)
