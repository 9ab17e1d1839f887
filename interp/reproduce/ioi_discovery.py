"""Finding the heads of the IOI circuit: where heads look, the paths between them, backups, and everyone's role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from interp import heads
from interp.hooks.head_names import Head, head_name
from interp.lens import Attribution
from interp.reproduce import ioi_roles as rules
from interp.reproduce.asking import joined, several
from interp.reproduce.experiment import Experiment
from interp.reproduce.ioi_attention import PAIRS
from interp.reproduce.ioi_backups import BackupHeads, backup_heads
from interp.reproduce.ioi_evidence import Evidence, Measured
from interp.reproduce.ioi_habits import habits
from interp.reproduce.ioi_paths import KEYS, QUERIES, VALUES, Search, counting, paths_backwards, paths_to_logits
from interp.reproduce.ioi_role_table import HeadRoles, head_roles, rule_table
from interp.reproduce.ioi_roles import called
from interp.reproduce.ioi_settings import IoiSettings
from interp.reproduce.ioi_words import FEW, few, listed, names_of, percent, show
from interp.reproduce.ioi_words import told as told_of
from interp.reproduce.published_ioi import compare_with_published, is_gpt2_small
from interp.results import FEWEST, Axis, Result, Values, mean_with_interval
from interp.tasks import PromptPairs


@dataclass(frozen=True, eq=False)
class FoundHeads:
    """What the search came to: the heads by role, all that was measured of every head, and the backups, if asked."""

    roles: HeadRoles
    evidence: Evidence
    backups: BackupHeads | None


def find_heads(
    experiment: Experiment, task: PromptPairs, paths: PromptPairs, by_head: Attribution, settings: IoiSettings
) -> FoundHeads:
    """The heads of every role, told section by section in the report.

    task: the prompts for attention and backups. paths: those for path patching, at least as many as any step takes.
    Both with ABC prompts as corrupt side. by_head: the direct attribution of `task`.
    """
    search = Search(experiment, paths)
    total = float(by_head.values["total"].data)
    names = ("contribution", "low", "high")
    search.evidence[rules.DIRECT] = Measured.of(by_head.values, names, len(task), whole=total)
    habits(search, task, settings)
    paths_to_logits(search, settings.n_logits)
    paths_backwards(search, QUERIES, settings.n_queries)
    paths_backwards(search, VALUES, settings.n_values)
    paths_backwards(search, KEYS, settings.n_keys)
    backups = _backups(search, task, by_head)
    found = experiment.step("roles", lambda: head_roles(experiment.model, task, search.evidence))
    _roles(search, found)
    _attention_views(experiment, task, found)
    if is_gpt2_small(experiment.model):
        _published(experiment, found)
    return FoundHeads(found, search.evidence, backups)


def _backups(search: Search, task: PromptPairs, by_head: Attribution) -> BackupHeads | None:
    writers, what = search.heads(rules.POSITIVE), "backup name movers"
    report = search.experiment.report
    if not writers:
        report.section(f"IOI: {what}", f"No {rules.POSITIVE}s were found, so there is nothing that could be backed up.")
        return None
    found = search.asked("backups", lambda: backup_heads(search.experiment.model, task, writers, by_head), what)
    if found is None:
        return None
    search.evidence.update(found.evidence(float(found.values["total"].sel(when="before").data)))
    rises = counting(search.evidence, rules.RISE, +1)
    backups = search.heads("backup name mover")
    rise = search.evidence[rules.RISE]
    told = "no other head's direct effect rises by as much as 1 % of it, with an interval above 0." if not rises else (
        f"the direct effect of others rises, with an interval of the paired difference above 0 and at least "
        f"{percent(rules.MIN_SHARE)} of the intact difference: {listed(rises, rise)}. "
        + _ends_positive(search, rises, backups)
    )  # fmt: skip
    before, after = (told_of(found.values, _TOTAL, when=when) for when in ("before", "after"))
    report.section(
        f"IOI: {what}",
        f"Without the {rules.POSITIVE}s {names_of(writers)} the logit difference goes from {before} to {after}, where "
        f"their direct effects add up to {_summed(by_head, writers)} (n = {len(task)}), and {told}\n\n"
        "They are ablated together: at the end of the prompt their output becomes its mean over the ABC prompts. The "
        "final norm's smaller scale alone multiplies every contribution by "
        f"{told_of(found.values, ('factor', 'factor_low', 'factor_high'))}, which is taken out of the rises.",
    )
    caption = (
        f"Without {names_of(writers)}, " + (f"the direct effect of {listed(rises[:3], rise)} rises" if rises else
        "no other head's direct effect rises by what counts") + "; the ablated heads lose what they wrote. Every cell: "
        f"the change of a head's direct effect on the logit difference (n = {len(task)})."
    )  # fmt: skip
    show(report, found, [caption], len(task))
    return found


_TOTAL = ("total", "total_low", "total_high")


def _summed(by_head: Attribution, writers: tuple[Head, ...]) -> str:
    each = sum(by_head.values["per_prompt"].data[:, layer, head] for layer, head in writers)
    mean = mean_with_interval(Values(each, (Axis("example", tuple(range(len(each)))),), "logits"))
    return told_of(mean, ("mean", "low", "high"))


def _ends_positive(search: Search, rises: list[Head], backups: tuple[Head, ...]) -> str:
    after, before = search.evidence[rules.AFTER], search.evidence[rules.DIRECT]
    words = []
    for head in backups[:4]:
        turned = " (it wrote against the answer before)" if float(before.high[head]) < 0 else ""
        words.append(f"{head_name(head)} goes from {before.told(head)} to {after.told(head)}{turned}")
    rest = [head for head in rises if head not in backups]
    told = f"Writing the answer then: {'; '.join(words)}. " if words else "None of them writes the answer then. "
    if rest:
        told += f"{', '.join(map(head_name, rest[:6]))} only write{'s' * (len(rest) == 1)} less against it than before."
    return told


def _roles(search: Search, found: HeadRoles) -> None:
    report = search.experiment.report
    table, others, unforeseen = found.table(), found.unassigned(), found.unforeseen()
    report.section(
        "IOI: heads by role",
        f"{role_words(found)}\n\nEvery kind of head has one rule: an effect that counts, and attention (and copying) "
        "that fits. The rules are the same for every model; a head may meet several, or none.",
    )
    if len(table):
        first = table.iloc[int(_sizes(found).argmax())]
        report.add(
            table,
            f"{_n_heads(found)} meet a rule, and the largest effect by which one does is that of {first['head']} "
            f"({first['role']}): {first['effect (logits)']} logits, {first['share']} of the logit "
            "difference. Means with 95 % intervals; the effect is the one that the rule names.",
            f"Prompts behind the effects: {_counts(search)}. {_few(search)}".strip(),
        )
    met = sum(bool(heads) for heads in found.labels.values())
    report.add(
        rule_table(),
        f"Heads of this model meet {met} of the {len(rules.RULES)} rules by which heads are named.",
        "The thresholds are choices, the same for every model, made with the numbers of SmolLM2-135M in view; a head "
        "near one could stand on either side.",
    )
    if len(others):
        report.add(
            others,
            f"{several(len(others), 'head')} with an effect that counts meet{'s' * (len(others) == 1)} no rule, above "
            f"all {others['head'].iloc[0]} ({others['effect (logits)'].iloc[0]} logits). The nearest rule is the one "
            "about the same effect of which least is missing.",
            "A head here is not unexplained for good: these rules ask only what the paper asked.",
        )
    if len(unforeseen):
        report.add(
            unforeseen,
            f"{several(len(unforeseen), 'head')} work{'s' * (len(unforeseen) == 1)} in a way that no role is about, "
            f"above all {unforeseen['head'].iloc[0]} ({unforeseen['effect (logits)'].iloc[0]} logits).",
            "Small effects with an interval that excludes 0 turn up by chance where so many heads are asked.",
        )
    _headline(search, found)


def role_words(found: HeadRoles) -> str:
    """Which head is what, and which rules no head meets."""
    held = [f"{called(label, len(heads))} {names_of(heads)}" for label, heads in found.labels.items() if heads]
    empty = [called(label) for label, heads in found.labels.items() if not heads]
    if not held:
        return "0 heads have a role: no head of this model meets a rule."
    told = f"{_n_heads(found)} have a role: {'; '.join(held)}."
    return told + (f" None was found for: {', '.join(empty)}." if empty else " Every rule is met by a head.")


def _n_heads(found: HeadRoles) -> str:
    return several(len({head for heads in found.labels.values() for head in heads}), "head")


def _sizes(found: HeadRoles) -> torch.Tensor:
    """The size of the effect in every row of the table."""
    rows = [(rule.label, head) for rule in rules.RULES for head in found.labels[rule.label]]
    return torch.tensor([abs(found.effect(*row)[0]) for row in rows])


_STEPS = {"logits": rules.LOGITS, "queries": rules.QUERIES, "values": rules.VALUES, "keys": rules.KEYS}


def _counts(search: Search) -> str:
    given = {"direct effects": rules.DIRECT, **{f"paths to the {name}": key for name, key in _STEPS.items()}}
    given |= {"copying": rules.COPIES, "previous-token scores": rules.PREVIOUS}
    return ", ".join(f"{name} {search.evidence[key].n}" for name, key in given.items() if key in search.evidence)


def _few(search: Search) -> str:
    """What to know where a step had few prompts."""
    counted = {name: search.evidence[key].n for name, key in _STEPS.items() if key in search.evidence}
    small = {name: n for name, n in counted.items() if n < FEW}
    if not small:
        return ""
    told = few(min(small.values()))
    none = [name for name, n in small.items() if n < FEWEST]
    if none:
        told += f" No head can meet a rule about the {joined(none)}, which asks for an interval."
    return told


def _headline(search: Search, found: HeadRoles) -> None:
    for rule in rules.RULES:
        heads_here = found.labels[rule.label]
        if heads_here:
            mean, low, high = found.effect(rule.label, heads_here[0])
            names = ", ".join(map(head_name, heads_here))
            name = f"{rule.label}: {names} ({rule.effect}{', of the first' if len(heads_here) > 1 else ''})"
            search.experiment.headline.append((name, mean, search.evidence[rule.effect].n, (low, high), "logits"))


def _attention_views(experiment: Experiment, task: PromptPairs, found: HeadRoles) -> None:
    """The strongest head of every label, on the first prompt."""
    firsts = {label: of_label[0] for label, of_label in found.labels.items() if of_label}
    if not firsts:
        return
    chosen = list(dict.fromkeys(firsts.values()))
    shown = experiment.step("attention", lambda: heads.patterns(experiment.model, task[:1], heads=chosen))
    experiment.report.add(
        shown,
        caption=_one_prompt(shown, task, firsts),
        caveat="One prompt; the table's numbers are means over all of them.",
    )


def _one_prompt(shown: Result, task: PromptPairs, firsts: Mapping[str, Head]) -> str:
    """How much the first head of every label attends, on one prompt, to where its rule says it looks."""
    pattern = shown.values["pattern"].sel(example=0)
    words, meeting, asked = [], 0, 0
    for rule in rules.RULES:
        if rule.label not in firsts:
            continue
        name = head_name(firsts[rule.label])
        pair = next((use for look in rule.looks for use in look.uses if use in PAIRS), None)
        if pair is None:
            words.append(f"{name} ({rule.label})")
            continue
        query, keys = PAIRS[pair]
        row = pattern.sel(head=name).data[int(task.positions[query][0])]
        size = sum(float(row[int(task.positions[key][0])]) for key in keys)
        asked, meeting = asked + 1, meeting + (size >= rules.MIN_ATTENTION)
        words.append(f"{name} ({rule.label}; {pair} {size:.2f})")
    return (
        f"On one prompt {meeting} of {asked} heads that were named for where they look, the first of every kind, do "
        f"look there (attention {rules.MIN_ATTENTION} or more): {', '.join(words)}."
    )


def _published(experiment: Experiment, found: HeadRoles) -> None:
    compared = experiment.step("published", lambda: compare_with_published(found.labels, experiment.model))
    told = compared.told()
    experiment.report.section(
        "IOI: beside the published heads",
        f"{told}\n\nThis is GPT-2 small, the model of the paper, so the heads found can be set beside its 26. Labels "
        "that the paper does not have (subject suppressor, subject mover) do not count.",
    ).add(compared.table(), told).add(compared, told)
