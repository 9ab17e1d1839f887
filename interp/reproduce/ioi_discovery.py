"""Finding the heads of the IOI circuit: where heads look, the paths between them, backups, and everyone's role."""

from __future__ import annotations

from typing import Any

from interp import heads
from interp.hooks.head_names import Head, head_name
from interp.lens import Attribution
from interp.reproduce import ioi_roles as rules
from interp.reproduce.experiment import Experiment
from interp.reproduce.ioi_attention import role_attention
from interp.reproduce.ioi_backups import backup_heads
from interp.reproduce.ioi_evidence import Measured
from interp.reproduce.ioi_paths import KEYS, QUERIES, VALUES, Search, counting, listed, paths_backwards, paths_to_logits
from interp.reproduce.ioi_role_table import HeadRoles, head_roles, rule_table
from interp.reproduce.ioi_settings import IoiSettings
from interp.reproduce.published_ioi import compare_with_published, is_gpt2_small
from interp.tasks import PromptPairs


def find_heads(
    experiment: Experiment, task: PromptPairs, paths: PromptPairs, by_head: Attribution, settings: IoiSettings
) -> HeadRoles:
    """The heads of every role, told section by section in the report.

    task: the prompts for attention and backups. paths: those for path patching, at least as many as any step takes.
    Both with ABC prompts as corrupt side. by_head: the direct attribution of `task`.
    """
    search = Search(experiment, paths)
    total = float(by_head.values["total"].data)
    names = ("contribution", "low", "high")
    search.evidence[rules.DIRECT] = Measured.of(by_head.values, names, len(task), whole=total)
    _habits(search, task, settings)
    paths_to_logits(search, settings.n_logits)
    paths_backwards(search, QUERIES, settings.n_queries)
    paths_backwards(search, VALUES, settings.n_values)
    paths_backwards(search, KEYS, settings.n_keys)
    _backups(search, task, by_head)
    found = experiment.step("roles", lambda: head_roles(experiment.model, task, search.evidence))
    _roles(search, found)
    _attention_views(experiment, task, found)
    if is_gpt2_small(experiment.model):
        _published(experiment, found)
    return found


def _habits(search: Search, task: PromptPairs, settings: IoiSettings) -> None:
    """What heads look at and copy, whatever comes of it."""
    model = search.experiment.model
    looks = search.asked("role-attention", lambda: role_attention(model, task), "where heads look")
    options: dict[str, Any] = {"seed": settings.seed, "prepend_bos": settings.prepend_bos}
    options |= {"n": settings.n_random, "length": min(50, int(model.cfg.n_ctx) // 2 - 1)}  # a short context
    random = search.asked("random-scores", lambda: heads.scores(model, **options), "head scores on random tokens")
    names = task[: settings.n_copying]
    copying = search.asked("name-copying", lambda: heads.name_copying(model, names), "name copying")
    search.experiment.report.section(
        "IOI: where heads look and what they copy",
        "A head's role needs more than an effect: it has to look where the role looks. Below, the attention between "
        f"the named tokens ({len(task)} prompts, and the same places of ABC prompts, where no name comes twice), and "
        f"what each head would do to a name's logit if it attended to that name alone ({len(names)} prompts, three "
        "names each). Neither says that a head matters; that is asked by path patching, next.",
    )
    if looks is not None:
        search.evidence.update(looks.evidence())
        search.experiment.report.add(looks)
    if random is not None:
        score = ("score", "low", "high")
        search.evidence[rules.PREVIOUS] = Measured.of(random.values, score, settings.n_random, kind="previous")
    if copying is not None:
        for name, sign in ((rules.COPIES, "copies"), (rules.SUPPRESSES, "suppresses")):
            search.evidence[name] = Measured.of(copying.values, ("share", "low", "high"), len(names), sign=sign)
        search.experiment.report.add(copying)


def _backups(search: Search, task: PromptPairs, by_head: Attribution) -> None:
    movers = search.heads("name mover")
    what = "backups"
    if not movers:
        search.experiment.report.section(
            "IOI: backup name movers", "No name movers were found, so there is nothing that could be backed up."
        )
        return
    found = search.asked("backups", lambda: backup_heads(search.experiment.model, task, movers, by_head), what)
    if found is None:
        return
    before, after = found.values["total"].data.tolist()
    search.evidence.update(found.evidence(before))
    rises = counting(search.evidence, rules.RISE, +1)
    backups = search.heads("backup name mover")
    rise = search.evidence[rules.RISE]
    told = "No other head's direct effect rises by as much as 1 % of it." if not rises else (
        f"Heads whose direct effect rises, with an interval of the paired difference above 0 and at least "
        f"{rules.MIN_SHARE:.0%} of the intact difference: {listed(rises, rise)}. "
        + _ends_positive(search, rises, backups)
    )  # fmt: skip
    search.experiment.report.section(
        "IOI: backup name movers",
        f"The heads in the place of the name movers, {', '.join(map(head_name, movers))}, are ablated together: at the "
        f"end of the prompt their output becomes its mean over the ABC prompts ({len(task)} prompts). The logit "
        f"difference goes from {before:.2f} to {after:.2f}, where their direct effects add up to "
        f"{_summed(by_head, movers):.2f}. The final norm's smaller scale alone multiplies every contribution by "
        f"{float(found.values['factor'].data):.2f}, which is taken out of the rises.\n\n{told}",
    ).add(found)


def _summed(by_head: Attribution, movers: tuple[Head, ...]) -> float:
    return sum(float(by_head.values["contribution"].data[head]) for head in movers)


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
    report, labels = search.experiment.report, found.labels
    table, others = found.table(), found.unassigned()
    n_heads = len({head for heads in labels.values() for head in heads})
    empty = [role for role in rules.ROLES if not labels[role]]
    told = f"{n_heads} heads have a role. " + (f"No head meets the rule of: {', '.join(empty)}." if empty else "")
    report.section(
        "IOI: heads by role",
        "Every role has one rule: an effect that counts, and attention (and copying) that fits. The rules are the same "
        "for every model; a head may meet several, or none. " + told,
    )
    if len(table):
        report.add(
            table,
            "The heads of every role with what their rule asks for, means with 95 % intervals. The effect is the one "
            "that the rule names, in logits and as a share of the whole logit difference.",
            "The intervals are over prompts; that there are few for the paths "
            + f"({_counts(search)}) shows in their width.",
        )
    report.add(
        rule_table(),
        "The rules.",
        "The thresholds are choices, the same for every model, made with the numbers of SmolLM2-135M in view; a head "
        "near one could stand on either side.",
    )
    if len(others):
        report.add(
            others,
            "Important heads without a role: an effect that counts, and no rule met. The nearest rule is the one about "
            "the same effect of which least is missing.",
            "A head here is not unexplained for good: these rules ask only what the paper asked.",
        )
    _headline(search, found)


def _counts(search: Search) -> str:
    steps = {"logits": rules.LOGITS, "queries": rules.QUERIES, "values": rules.VALUES, "keys": rules.KEYS}
    return ", ".join(f"{name} {search.evidence[key].n}" for name, key in steps.items() if key in search.evidence)


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
    words = "; ".join(f"{head_name(head)} ({label})" for label, head in firsts.items())
    experiment.report.add(
        shown,
        caption=f"Attention of the first head of every role, on one prompt: {words}.",
        caveat="One prompt; the table's numbers are means over all of them.",
    )


def _published(experiment: Experiment, found: HeadRoles) -> None:
    compared = experiment.step("published", lambda: compare_with_published(found.labels, experiment.model))
    experiment.report.section(
        "IOI: beside the published heads",
        "This is GPT-2 small, the model of the paper, so the heads found can be set beside its 26. Labels that the "
        "paper does not have (subject suppressor, subject mover) do not count.",
    ).add(compared.table(), "Heads found here and published, by class.").add(compared)
