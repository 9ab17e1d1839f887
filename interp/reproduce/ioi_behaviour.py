"""How well a model tells who gets the drink, and after which block its residual stream says so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch

from interp import lens, tasks
from interp.reproduce.asking import joined, several
from interp.reproduce.experiment import Experiment
from interp.reproduce.ioi_words import few, percent, percent_with, percents, show, told
from interp.results import FEWEST, Result, Values, mean_with_interval
from interp.tasks import PromptPairs
from interp.viz.theme import interval, number

MEAN = ("mean", "low", "high")
MEASURES = {
    "logit_difference": "logit difference (logits)",
    "accuracy": "accuracy (share of prompts)",
    "probability_difference": "difference of the two probabilities",
    "answer_rank": "rank of the indirect object (0 is the top)",
}
"""What the measures are called in the report."""
NOTICEABLE = 0.01
"""The probability from which on a name counts as predicted at all in the lens: far above 1 / vocabulary."""


def behaviour(experiment: Experiment, task: PromptPairs) -> Result:
    """Logit difference and accuracy, over all prompts and by the order of the names; returns what was measured."""
    found = experiment.step("behaviour", lambda: tasks.behaviour(experiment.model, task))
    orders = _orders(found, task)
    notes = " ".join(f"{note}." for note in task.notes)
    experiment.report.section(
        "IOI: behaviour",
        f"{verdict(found, len(task))} {_by_order(orders)}\n\n"
        f"Measured on {len(task)} pairs over the paper's 15 templates in both orders of the names: ABBA, where the "
        "indirect object comes first, and BABA. The logit difference is the logit of the indirect object less that of "
        "the subject, right after the prompt; accuracy is the share of prompts where it is positive. The corrupt, "
        f"or ABC, prompts name three other people, so that nothing in them asks for either name. {notes}",
    )
    experiment.report.add(_table(found), *_words(found, len(task)))
    smallest = min(task.groups.count(group) for group in set(task.groups))
    show(experiment.report, found, [_groups(found, smallest)], smallest, caveat=GROUPS, plots=[1])
    for measure, name, unit in (("logit_difference", "logit difference", "logits"), ("accuracy", "accuracy", "share")):
        at = found.sel(measure=measure, side="clean").values
        experiment.number(name, at["mean"], at["low"], at["high"], len(task), unit)
    for order, (mean, n) in orders.items():
        experiment.number(f"logit difference, {order}", mean["mean"], mean["low"], mean["high"], n, "logits")
    return found


GROUPS = "A group is a template in one order and has few prompts, so single bars are uncertain."


def verdict(found: Result, n: int) -> str:
    """Whether the model does the task, in one sentence with its numbers."""
    clean: dict[str, Any] = {"measure": "logit_difference", "side": "clean"}
    lead = f"{told(found.values, MEAN, **clean)} logits"
    right = percent_with(found.values, MEAN, 1, measure="accuracy", side="clean")
    low, high = (float(found.values[end].sel(**clean).data) for end in ("low", "high"))
    abc = told(found.values, MEAN, measure="logit_difference", side="corrupt")
    beside = f"On prompts that name three other people (ABC) the same two names differ by {abc}."
    if math.isnan(low):
        return f"{few(n)} The indirect object leads the subject by {lead} on average. {beside}"
    if low > 0:
        return (
            f"This model does the task: the indirect object leads the subject by {lead} (n = {n}), and is ahead in "
            f"{right} of the prompts. {beside}"
        )
    if high < 0:
        return (
            f"This model does the opposite of the task: the indirect object's lead over the subject is {lead} (n = {n})"
            f", and it is ahead in only {right} of the prompts. {beside}"
        )
    return (
        f"This model does not do the task reliably: the interval of the indirect object's lead over the subject, {lead}"
        f" (n = {n}), includes 0; it is ahead in {right} of the prompts. {beside}"
    )


def does_it(found: Result) -> bool:
    """Whether the interval of the logit difference lies above 0."""
    return bool(found.values["low"].sel(measure="logit_difference", side="clean").data > 0)


def _orders(found: Result, task: PromptPairs) -> dict[str, tuple[dict[str, Values], int]]:
    """Order -> mean logit difference with its interval, and the number of prompts."""
    orders = {}
    for order in ("ABBA", "BABA"):
        rows = [i for i, group in enumerate(task.groups) if group.startswith(order)]
        if rows:
            each = found.per_example.sel(measure="logit_difference", side="clean", example=rows)
            orders[order] = (mean_with_interval(each), len(rows))
    return orders


def _by_order(orders: Mapping[str, tuple[dict[str, Values], int]]) -> str:
    if len(orders) < 2:
        return ""
    each = {order: f"{told(mean, MEAN)} in {order} prompts (n = {n})" for order, (mean, n) in orders.items()}
    low = {order: float(mean["low"].data) for order, (mean, _) in orders.items()}
    high = {order: float(mean["high"].data) for order, (mean, _) in orders.items()}
    words = joined(list(each.values()))
    for better, worse in (("ABBA", "BABA"), ("BABA", "ABBA")):
        if low[better] > high[worse]:
            return f"It leads more clearly in {better} than in {worse} prompts: {words}."
    return f"The two orders of the names do not differ beyond their intervals: {words}."


def _table(found: Result) -> pd.DataFrame:
    rows = []
    for measure in found.values["mean"].axis("measure").labels:
        row = {"": MEASURES.get(str(measure), str(measure).replace("_", " "))}
        for side, words in (("clean", "clean prompts"), ("corrupt", "ABC prompts")):
            row[words] = _precise(found, measure=measure, side=side)
        rows.append(row)
    return pd.DataFrame(rows)


def _precise(found: Result, **at: Any) -> str:
    mean, low, high = (float(found.values[end].sel(**at).data) for end in MEAN)
    return f"{number(mean)} {interval(low, high)}".strip()


def _words(found: Result, n: int) -> tuple[str, str]:
    """Caption and caveat of the table."""
    by_side = {side: told(found.values, MEAN, measure="logit_difference", side=side) for side in ("clean", "corrupt")}
    caption = (
        f"The indirect object leads the subject by {by_side['clean']} logits on the clean prompts and by "
        f"{by_side['corrupt']} on the ABC prompts; every measure is a mean over {n} pairs with its 95 % interval."
    )
    rank = found.per_example.sel(measure="answer_rank", side="clean").data
    median, mean = float(rank.double().quantile(0.5)), float(rank.mean())
    pulled = mean > 2 * median + 1
    caveat = f"A few prompts pull the mean rank up: the median rank on the clean prompts is {median:g}." * pulled
    return caption, " ".join(part for part in (caveat, few(n)) if part)


def _groups(found: Result, smallest: int) -> str:
    values = found.values["logit_difference_by_group"]
    ahead, total = int((values.data > 0).sum()), values.data.numel()
    frame = found.to_frame("logit_difference_by_group").sort_values("value")
    ends = [
        f"{row['value']:+.2f} ({', '.join(_group_name(name, row[name]) for name in values.dims)})"
        for row in (frame.iloc[0], frame.iloc[-1])
    ]
    bounds = "; lines: 95 % intervals" if smallest >= FEWEST else ""
    return (
        f"The indirect object leads on average in {ahead} of {total} groups of prompts with one template and order, by "
        f"{ends[0]} logits in the worst and {ends[1]} in the best; {several(smallest, 'prompt')} or more a group"
        f"{bounds}."
    ).replace("-", "\N{MINUS SIGN}")


def _group_name(axis: str, label: Any) -> str:
    return str(label) if axis == "order" else f"{axis} {label}"


# ---- the logit lens --------------------------------------------------------------------------------------------------


def lens_section(experiment: Experiment, task: PromptPairs) -> Result:
    """The answer after every block, read through the final norm and the unembedding."""
    found = experiment.step("lens", lambda: lens.logit_lens(experiment.model, task))
    experiment.report.section(
        "IOI: where the answer appears",
        f"{appears(found)}\n\n"
        "The residual stream entering every layer (the last entry is the output) is read through the model's own final "
        f"norm and unembedding, at the end of {len(task)} prompts, in three ways: the logit difference, the "
        "log-probability of either name, and the entropy of the whole prediction. A jump between two entries says that "
        "the block between them writes. Before the names are predicted at all, which of them leads says little, and "
        "since the norm enlarges a small stream, a difference in the middle can exceed the one at the output.",
    )
    band = f" Line: mean over {len(task)} prompts; band: 95 % interval; layer 0: the embeddings."
    captions = [told_by(found) + band for told_by in (appears, _predicted, _sure)]
    show(experiment.report, found, captions, len(task))
    return found


def appears(found: Result) -> str:
    """From which layer on the answer leads, and which block writes most of the lead."""
    line = found.values["logit_difference"].data
    final, last = told(found.values, ("logit_difference", "low", "high"), layer=len(line) - 1), len(line) - 1
    if not float(found.values["low"].data[-1]) > 0:
        return f"The answer has no clear lead at the output ({final} logits), so there is no layer where it appears."
    behind = (line < line[-1] / 2).nonzero()
    first = int(behind[-1]) + 1 if len(behind) else 0
    jumps = line.diff()
    best = int(jumps.argmax())
    before, after = (told(found.values, ("logit_difference", "low", "high"), layer=i) for i in (best, best + 1))
    return (
        f"The answer leads by half of its final {final} logits from layer {first} (of {last}) on; the block that adds "
        f"most to the lead is block {best}, from {before} to {after}."
    )


def _predicted(found: Result) -> str:
    line = found.values["log_prob"].data  # [layer, target]
    at_end = [percent_of_log(found, target) for target in found.values["log_prob"].axis("target").labels]
    seen = (line.amax(1) >= math.log(NOTICEABLE)).nonzero()
    ends = f"at the output the indirect object has {at_end[0]} and the subject {at_end[1]}"
    if not len(seen):
        return f"Neither name reaches a probability of {percent(NOTICEABLE)} at any layer: {ends} (geometric means)."
    return f"No name has a probability of {percent(NOTICEABLE)} before layer {int(seen[0])}; {ends} (geometric means)."


def percent_of_log(found: Result, target: str | int) -> str:
    """The geometric mean of a name's probability at the output, with its interval."""
    names = ("log_prob", "log_prob_low", "log_prob_high")
    share, low, high = (math.exp(float(found.values[name].sel(target=target).data[-1])) for name in names)
    digits = 0 if share >= 0.1 else 1 if share >= 0.01 else 3
    return f"{percent(share, digits)} {percents(low, high, digits)}".strip()


def _sure(found: Result) -> str:
    line = found.values["entropy"].data
    names = ("entropy", "entropy_low", "entropy_high")
    end = told(found.values, names, layer=len(line) - 1)
    inside = line[1:-1] if len(line) > 2 else line
    least, most = float(inside.min()), float(inside.max())
    words = f"The whole prediction has an entropy of {end} nats at the output; within the model it is"
    between = f"{words} between {least:.2f} and {most:.2f}"
    if most < float(line[-1]):
        return f"{between}: the layers before the last are surer of their tokens, which are others, than the output is."
    return f"{between}, largest at layer {int(torch.argmax(line))}."
