"""What came of the IOI experiment, in the words of an abstract, made of its numbers."""

from __future__ import annotations

from collections.abc import Mapping

from interp.circuits import CircuitReport
from interp.hooks.head_names import Head
from interp.reproduce import ioi_roles as rules
from interp.reproduce.asking import joined, several
from interp.reproduce.ioi_behaviour import does_it, verdict
from interp.reproduce.ioi_circuit import JudgedCircuit
from interp.reproduce.ioi_circuit_judged import SHARE, complete_words, cut_words
from interp.reproduce.ioi_discovery import FoundHeads
from interp.reproduce.ioi_edges import edge_words, random_words
from interp.reproduce.ioi_evidence import in_words
from interp.reproduce.ioi_paths import counting, rereads
from interp.reproduce.ioi_role_table import HeadRoles
from interp.reproduce.ioi_roles import called
from interp.reproduce.ioi_words import names_of, percent, percent_with
from interp.results import Result

CHAIN: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("What these read is decided by", {"S-inhibition": "look at the subject's second mention"}),
    (
        "What those pass on was written by",
        {
            "induction": "look behind the subject's first mention",
            "duplicate token": "look back from the second mention to the first",
        },
    ),
    ("What the induction heads recognise was written by", {"previous token": "look one token back"}),
)
"""Backwards through the paper's circuit: how each step comes into the story, its roles, and what their heads do."""
READS = {
    "name mover": "read the indirect object and raise it",
    "subject suppressor": "read the subject and lower it",
    "negative name mover": "read the indirect object and lower it",
    "subject mover": "read the subject and raise it",
}
NOT_IN_THE_PAPER = ("subject suppressor", "subject mover")


def summary(behaviour: Result, found: FoundHeads, circuit: JudgedCircuit | None, edges: CircuitReport | None) -> str:
    """Behaviour, the chain of heads, the circuit, what differs from the paper, and the edges: a paragraph each."""
    n = len(behaviour.per_example.axis("example"))
    told = [f"Indirect object identification, after Wang et al. 2022. {verdict(behaviour, n)}"]
    told.append(chain_words(found.roles) if does_it(behaviour) or _any(found.roles) else NOTHING_TO_EXPLAIN)
    if circuit is not None:
        told.append(circuit_words(circuit))
    if _any(found.roles):
        told.append(_unlike_the_paper(found, circuit))
    if edges is not None:
        told.append(f"As edges instead of heads: {edge_words(edges)}{random_words(edges)}")
    return "\n\n".join(told)


NOTHING_TO_EXPLAIN = (
    "There is no behaviour here whose parts could be found: effects of heads are shares of the logit difference, and "
    "no head has a share of what is not there. What follows shows where this model does otherwise."
)


def _any(found: HeadRoles) -> bool:
    return any(found.labels.values())


def chain_words(found: HeadRoles) -> str:
    """The heads that move the logits, then backwards who steers them; links that were not found are named."""
    if not _any(found):
        return "No head of this model meets the rule of any role, so the paper's chain of heads was not found in it."
    told = ["Told backwards from the logits."]
    for role, works in ((rules.POSITIVE, "Towards the answer work"), (rules.NEGATIVE, "Against it")):
        words = [f"{_with_effect(found, label)}, which {_reads(label, found)}" for label in _writers(found, role)]
        told.append(f"{works} the {role}s: {'; '.join(words)}." if words else f"No {role} was found.")
    told += [step for link in CHAIN if (step := _link(found, *link))]
    missing = [called(role) for _, roles in CHAIN for role in roles if not found.labels[role]]
    if missing:
        told.append(f"Not found: {joined(missing)}.")
    return " ".join(told)


def _writers(found: HeadRoles, role: str) -> list[str]:
    """The labels of name writers of one side that have heads, those of the largest effect first."""
    labels = [rule.label for rule in rules.RULES if rule.role == role and found.labels[rule.label]]
    return sorted(labels, key=lambda label: -abs(found.effect(label, found.labels[label][0])[0]))


def _link(found: HeadRoles, how: str, roles: Mapping[str, str]) -> str:
    """One step backwards, with the heads of every role that has some; empty without any."""
    words = [
        f"{_with_effect(found, role)}, which {_verb(does, found.labels[role])} "
        f"({called(role, len(found.labels[role]))})"
        for role, does in roles.items()
        if found.labels[role]
    ]
    return f"{how} {joined(words)}." if words else ""


def _with_effect(found: HeadRoles, label: str) -> str:
    """The heads of a label with the effect of the first: "23.0 (+0.81 [+0.50, +1.14]) and 23.2"."""
    heads = found.labels[label]
    rule = next(rule for rule in rules.RULES if rule.label == label)
    n = int(found.settings["n"][rule.effect])
    first = f"{names_of(heads[:1])} ({in_words(*found.effect(label, heads[0]), True)} logits, n = {n})"
    return joined([first, *(names_of([head]) for head in heads[1:])])


def _reads(label: str, found: HeadRoles) -> str:
    n = len(found.labels[label])
    return f"{_verb(READS[label], found.labels[label])} ({called(label, n)})"


def _verb(words: str, heads: tuple[Head, ...]) -> str:
    """ "read the subject and lower it", in the singular for one head."""
    if len(heads) != 1:
        return words
    first, *rest = words.split(" ")
    return " ".join([f"{first}s", *rest]).replace("and lower ", "and lowers ").replace("and raise ", "and raises ")


def circuit_words(judged: JudgedCircuit) -> str:
    """How far these heads are a circuit: alone, taken out, and with parts missing."""
    n = len(judged.faithfulness.values["per_prompt"].axis("example"))
    labels = judged.minimality.values["minimality"].axis("head").labels
    needed = len(labels) - len(judged.minimality.below())
    return (
        f"These {len(judged.circuit)} heads, each kept only at its position ({percent(judged.share, 2)} of all pairs "
        "of a head and a position), with all other heads at their mean, keep "
        f"{percent_with(judged.faithfulness.values, SHARE, circuit='circuit')} of the logit difference on {n} new "
        f"prompts. {_beside_random(judged)}{cut_words(judged.knock_outs)} {complete_words(judged.completeness)} "
        f"{needed} of {len(labels)} heads are worth at least 1 % of the model's logit difference in their place. All "
        "of these numbers belong to this ablation; another one gives others."
    )


def _beside_random(judged: JudgedCircuit) -> str:
    """Random circuits beside the circuit, and beside nothing kept, in one sentence; empty without any."""
    values = judged.faithfulness.values
    if "random" not in values:
        return ""
    draws, n = values["random"].data[0], int(judged.faithfulness.settings["n_random_prompts"])
    nothing = float(values["per_prompt"].sel(run="nothing kept").data[:n].mean())
    worse = ", less than no head at all: they are no neutral baseline" if float(draws.mean()) < nothing else ""
    return (
        f"{several(len(draws), 'random circuit')} of the same shape leave {draws.mean():.2f} logits on average ("
        f"{draws.min():.2f} to {draws.max():.2f}, {n} prompts), where nothing kept leaves {nothing:.2f}{worse}. "
    ).replace("-", "\N{MINUS SIGN}")


def _unlike_the_paper(found: FoundHeads, judged: JudgedCircuit | None) -> str:
    """What Wang et al. did not report of GPT-2 small, and what of theirs is missing here."""
    labels = found.roles.labels
    differs = []
    for label in NOT_IN_THE_PAPER:
        if labels[label]:
            heads = labels[label]
            kind = f"{'is' if len(heads) == 1 else 'are'} of a kind that the paper does not have"
            differs.append(f"{names_of(heads)} {kind} ({called(label, len(heads))})")
    turned = set(labels["backup name mover"]) & set(labels["negative name mover"])
    differs += [_turning(found, head) for head in sorted(turned)]
    silent = _silent(found)
    if silent:
        differs.append(
            f"{names_of(silent)} move{'s' * (len(silent) == 1)} the logits and read{'s' * (len(silent) == 1)} no "
            "name, but what earlier heads wrote at the end of the prompt"
        )
    missing = [
        called(rule.label) for rule in rules.RULES if rule.source != "not in the paper" and not labels[rule.label]
    ]
    if missing:
        differs.append(f"no {joined(missing, 'or')} were found")
    if judged is not None:
        differs.append(f"the circuit has {len(judged.circuit)} heads where the paper's has 26, which keep 87 %")
    return f"Unlike the paper's GPT-2 small: {'; '.join(differs)}." if differs else ""


def _turning(found: FoundHeads, head: Head) -> str:
    before, after = (found.evidence[name] for name in (rules.DIRECT, rules.AFTER))
    return (
        f"the negative name mover {names_of([head])} turns into a backup: without the {rules.POSITIVE}s its direct "
        f"effect goes from {before.told(head)} to {after.told(head)} (n = {before.n})"
    )


def _silent(found: FoundHeads) -> list[Head]:
    """Heads that move the logits, meet no rule, and attend to the end itself."""
    if rules.LOGITS not in found.evidence:
        return []
    both = [head for sign in (+1, -1) for head in counting(found.evidence, rules.LOGITS, sign)]
    named = {head for heads in found.roles.labels.values() for head in heads}
    return [head for head in both if head not in named and rereads(found.evidence, head)]
