"""What makes a head a name mover, an S-inhibition head, ...: one rule a role, in numbers.

The roles are those of Wang et al. 2022, "Interpretability in the Wild", section 3. There they were given by eye; here
each is a rule that a head meets or does not, so that the same question can be asked of any model. A rule has two sides:
an effect of the head has to matter, which is how the paper finds heads (path patching), and the head has to look where
its role looks, which is how the paper names them (attention, copying scores).

A head that writes to the logits is named by what it reads and what it does with it:

                  copies what it reads           suppresses what it reads
    reads IO      name mover, for the answer     negative name mover, against it
    reads S       subject mover, against it      subject suppressor, for the answer

The paper has the upper row only. The lower one follows from the same two questions: to lower the subject's logit serves
the answer as well as to raise the indirect object's. In a circuit only what a head does for the answer counts, so name
movers and subject suppressors stand together there as *positive name writers*, and negative name movers and subject
movers as *negative name writers* (`Rule.role`). "Name mover" always means the head of the upper left corner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from interp.hooks.head_names import Head
from interp.reproduce.ioi_evidence import Condition, Evidence, Mask, above_zero, at_least, counts, more, mostly

MIN_DIRECT_SHARE = 0.05
"""Of the logit difference, for what is written to the logits: very many heads write a little there, and the other names
of a corrupt prompt add noise; under a twentieth a role's heads cannot be told from those."""
MIN_SHARE = 0.01
"""For all other effects: the smallest share by which a head of the paper's circuit mattered in its minimality test
(section 4)."""
MIN_ATTENTION = 0.2
"""The prompts have about 14 to 20 tokens, so attention spread evenly gives each about 0.06: three times that."""
MIN_COPYING = 0.5
"""Most names. The paper has over 0.95 for name movers, 0.98 for negative ones, 0.12 for an average head."""
MIN_FOR_THE_REPETITION = 0.5
"""Share of a head's attention that is gone where no name comes twice: most of it is there for the repetition, then,
and not because names stand there."""

LOGITS = "path to the logits"
QUERIES = "path to the positive name writers' queries"
VALUES = "path to the S-inhibition heads' values"
KEYS = "path to the induction heads' keys"
DIRECT = "direct effect"
AFTER = "direct effect without the positive name writers"
RISE = "rise of the direct effect without the positive name writers"
BEYOND = ", less that in ABC prompts"
COPIES, SUPPRESSES = "names copied", "names suppressed"
PREVIOUS = "previous-token score on random tokens"

SHARES: Mapping[str, float] = {
    LOGITS: MIN_DIRECT_SHARE,
    DIRECT: MIN_DIRECT_SHARE,
    QUERIES: MIN_SHARE,
    VALUES: MIN_SHARE,
    KEYS: MIN_SHARE,
    RISE: MIN_SHARE,
}
"""The effects that make a head matter, each with the share of the logit difference that it has to reach."""
POSITIVE, NEGATIVE = "positive name writer", "negative name writer"
"""The two sides of the table at the top: what reads a name at the end and tells the logits, for the answer or against
it. A head that tells the logits something and reads no name is neither."""
ROLES = (
    "previous token",
    "duplicate token",
    "induction",
    "S-inhibition",
    POSITIVE,
    "backup name mover",
    NEGATIVE,
)
"""The roles of heads in a circuit."""
PLURALS: Mapping[str, str] = {
    "previous token": "previous-token heads",
    "duplicate token": "duplicate-token heads",
    "induction": "induction heads",
    "S-inhibition": "S-inhibition heads",
}
"""What heads of a role or label are called where it is not the name and an s."""


@dataclass(frozen=True)
class Rule:
    """A head is called `label` when its effect counts and all of `looks` hold; in a circuit it stands under `role`.

    effect, sign: the effect that has to count, and which way. source: where the paper says it.
    """

    label: str
    role: str
    effect: str
    sign: int
    looks: tuple[Condition, ...]
    source: str

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """All that has to hold, the effect first."""
        return (counts(self.effect, SHARES[self.effect], self.sign), *self.looks)

    def holds(self, evidence: Evidence) -> Mask:
        """The heads that meet all conditions."""
        return torch.stack([condition.holds(evidence) for condition in self.conditions]).all(0)

    def missed(self, evidence: Evidence, head: Head) -> list[str]:
        """The conditions that a head does not meet, in words."""
        return [one.words for one in self.conditions if not bool(one.holds(evidence)[head])]


def _looks(pair: str) -> Condition:
    return at_least(pair, MIN_ATTENTION)


def _for_the_repetition(pair: str) -> Condition:
    words = f"at least {100 * MIN_FOR_THE_REPETITION:.0f} % of {pair} gone in ABC prompts, where no name comes twice"
    return mostly(pair + BEYOND, pair, MIN_FOR_THE_REPETITION, words)


_READS_IO = (_looks("end to IO"), more("end to IO", "end to S"))
_READS_S = (_looks("end to S"), more("end to S", "end to IO"))
_COPIES, _SUPPRESSES = at_least(COPIES, MIN_COPYING), at_least(SUPPRESSES, MIN_COPYING)

RULES = (
    Rule("name mover", POSITIVE, LOGITS, +1, (*_READS_IO, _COPIES), "section 3.1"),
    Rule("subject suppressor", POSITIVE, LOGITS, +1, (*_READS_S, _SUPPRESSES), "not in the paper"),
    Rule("negative name mover", NEGATIVE, LOGITS, -1, (*_READS_IO, _SUPPRESSES), "section 3.1"),
    Rule("subject mover", NEGATIVE, LOGITS, -1, (*_READS_S, _COPIES), "not in the paper"),
    Rule("backup name mover", "backup name mover", RISE, +1, (above_zero(AFTER),), "section 3.4"),
    Rule(
        "S-inhibition",
        "S-inhibition",
        QUERIES,
        +1,
        (_looks("end to S2"), more("end to S2", "end to IO")),
        "section 3.2",
    ),
    Rule(
        "induction",
        "induction",
        VALUES,
        +1,
        (_looks("S2 to S1+1"), _for_the_repetition("S2 to S1+1")),
        "section 3.3",
    ),
    Rule(
        "duplicate token",
        "duplicate token",
        VALUES,
        +1,
        (_looks("S2 to S1"), _for_the_repetition("S2 to S1")),
        "section 3.3",
    ),
    Rule(
        "previous token",
        "previous token",
        KEYS,
        +1,
        (_looks("S1+1 to S1"), at_least(PREVIOUS, MIN_ATTENTION)),
        "section 3.3",
    ),
)


def called(role: str, n: int = 2) -> str:
    """ "induction heads", "name movers"; with n = 1 "induction head", "name mover"."""
    words = PLURALS.get(role, f"{role}s")
    return words.removesuffix("s") if n == 1 else words


def labelled(evidence: Evidence) -> dict[str, tuple[Head, ...]]:
    """The heads of every label, those with the largest effect first. A head may bear several labels, or none."""
    found = {}
    for rule in RULES:
        heads = [(int(layer), int(head)) for layer, head in rule.holds(evidence).nonzero().tolist()]
        sizes = {head: abs(float(evidence[rule.effect].mean[head])) for head in heads}
        found[rule.label] = tuple(sorted(heads, key=sizes.__getitem__, reverse=True))
    return found


def roles_of(labels: Mapping[str, Sequence[Head]]) -> dict[str, tuple[Head, ...]]:
    """The seven roles of a circuit, from the labels that stand under each; the paper's own label comes first."""
    return {
        role: tuple(dict.fromkeys(head for rule in RULES if rule.role == role for head in labels[rule.label]))
        for role in ROLES
    }


def important(evidence: Evidence) -> dict[Head, str]:
    """The heads with an effect that counts, in either direction, and the effect with the largest share of each.

    Largest share first. Backups are left out: whether they rise is asked of the others' absence.
    """
    found: dict[Head, tuple[float, str]] = {}
    for effect, bound in SHARES.items():
        if effect == RISE or effect not in evidence:
            continue
        either = counts(effect, bound, +1).holds(evidence) | counts(effect, bound, -1).holds(evidence)
        for layer, head in either.nonzero().tolist():
            size = abs(float(evidence[effect].share[layer, head]))
            found[layer, head] = max(found.get((layer, head), (0.0, "")), (size, effect))
    ordered = sorted(found, key=lambda head: found[head][0], reverse=True)
    return {head: found[head][1] for head in ordered}


def nearest_rule(evidence: Evidence, head: Head, effect: str) -> tuple[str, list[str]] | None:
    """Of the rules about an effect with the head's sign, the one it misses least: (label, what it misses).

    None where the paper has no role for heads with such an effect of this sign.
    """
    asked = LOGITS if effect == DIRECT else effect
    sign = 1 if float(evidence[effect].mean[head]) > 0 else -1
    missed = [(rule.label, rule.missed(evidence, head)) for rule in RULES if (rule.effect, rule.sign) == (asked, sign)]
    return min(missed, key=lambda item: len(item[1]), default=None)
