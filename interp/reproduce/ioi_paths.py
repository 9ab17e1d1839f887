"""Path patching backwards from the logits: who writes the answer, who tells those where to look, who tells those.

Wang et al. 2022, section 3, in their order. Each step asks which heads matter to the heads that the step before found,
by one input (queries, values, keys) at one position. Everything found goes into the evidence of `ioi_roles`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from interp import patching
from interp.hooks.head_names import Head, head_name
from interp.patching import PathResult
from interp.reproduce import ioi_roles as rules
from interp.reproduce.asking import ask
from interp.reproduce.experiment import Experiment
from interp.reproduce.ioi_evidence import Evidence, Measured, counts
from interp.reproduce.ioi_words import largest, listed, names_of, percent, show
from interp.results import Result
from interp.tasks import PromptPairs

R = TypeVar("R", bound=Result)

MAX_RECEIVERS = 8
"""Heads that receive together in one step; the ones with the largest effect."""
CHANCE = (
    "One head at a time: heads that stand in for each other go unseen. And of as many heads as a model has, one in "
    "twenty has a 95 % interval that excludes 0 by chance; the least share is there for that."
)


@dataclass
class Search:
    """A search for heads under way: what is measured so far, and on which prompts paths are patched.

    task: IOI pairs with ABC prompts as their corrupt side. evidence: by the names of `ioi_roles`.
    """

    experiment: Experiment
    task: PromptPairs
    evidence: dict[str, Measured] = field(default_factory=dict)

    def asked(self, name: str, compute: Callable[[], R], what: str) -> R | None:
        """A step of the experiment; where this model cannot be asked, the report says so and None comes back."""
        found, why_not = ask(self.experiment, name, compute)
        if found is None:
            self.experiment.report.section(f"IOI: {what}", why_not)
            self.experiment.skip(f"IOI, {what}: {why_not.removeprefix('Not measured here: ')}")
        return found

    def heads(self, role: str) -> tuple[Head, ...]:
        """The heads of a role of the circuit, as far as they can be told now; the largest effect first."""
        return rules.roles_of(rules.labelled(self.evidence))[role]


@dataclass(frozen=True)
class Step:
    """One step backwards: which input of the heads of which role is asked about, at which position.

    effect: its name among the evidence. about: what a head found here does, for the report.
    """

    effect: str
    name: str
    title: str
    role: str
    letter: str
    position: str
    about: str


QUERIES = Step(
    rules.QUERIES,
    "paths-queries",
    "what tells the name writers where to look",
    rules.POSITIVE,
    "q",
    "end",
    "A head found here changes what the positive name writers attend to. In the paper these are the S-inhibition "
    "heads: they look at the second mention of the subject and keep the name movers away from it.",
)
VALUES = Step(
    rules.VALUES,
    "paths-values",
    "what the S-inhibition heads pass on",
    "S-inhibition",
    "v",
    "S2",
    "A head found here writes at the second mention of the subject that this name has come before. In the paper these "
    "are duplicate-token heads, which look back from S2 to S1, and induction heads, which look at the token behind S1.",
)
KEYS = Step(
    rules.KEYS,
    "paths-keys",
    "what the induction heads recognise",
    "induction",
    "k",
    "S1+1",
    "A head found here writes at the token behind the subject's first mention which name stood before it, and that is "
    "what an induction head's key has to say. In the paper these are previous-token heads.",
)
BACKWARDS = (QUERIES, VALUES, KEYS)


def paths_to_logits(search: Search, n: int) -> None:
    """Which heads move the logits by any path that no other head is part of."""
    task = search.task[:n]
    found = search.asked(
        "paths-logits", lambda: patching.path_effects(search.experiment.model, task), "which heads move the logits"
    )
    if found is None:
        return
    seen = _noted(search, rules.LOGITS, found, len(task))
    if seen.whole is None or seen.whole <= 0:
        told = (
            f"The logit difference falls by {found.difference:.2f} from the clean to the ABC prompts (n = "
            f"{len(task)}): "
            "this model does not do the task, nothing can be a share of that, and no head can be given a role."
        )
    else:
        told = _writers(search, seen)
    search.experiment.report.section(
        "IOI: which heads move the logits",
        f"{told}\n\n{_DEFINED}\n\n"
        f"Path patching (noising): {len(task)} clean prompts, into which the output of one head at the end of the "
        "prompt comes from the ABC prompt, while all other heads are held at what they were and MLPs and norms answer. "
        "What changes is what the head tells the logits itself or through MLPs, never through another head.",
    )
    caption = f"{path_words(seen, rules.LOGITS, 'the logits')} {_how(found, len(task))}"
    show(
        search.experiment.report,
        found,
        [caption],
        len(task),
        title="Paths from every head to the logits",
        caveat=CHANCE,
    )


_DEFINED = (
    "Names for what follows. A *name mover* reads the indirect object at the end of the prompt and raises it; a "
    "*subject suppressor* reads the subject and lowers it. Both serve the answer, and together they are called the "
    f"*{rules.POSITIVE}s*. A *negative name mover* (reads the indirect object, lowers it) and a *subject mover* "
    f"(reads the subject, raises it) work against it: the *{rules.NEGATIVE}s*. A head that moves the logits without "
    "reading a name is none of these."
).replace("*", "")


def paths_backwards(search: Search, step: Step, n: int) -> None:
    """Which heads move the logit difference through one input of the heads of a role, at one position."""
    experiment, found = search.experiment, search.heads(step.role)
    receivers = [head for head in found if head[0] > 0][:MAX_RECEIVERS]  # before layer 0 there are no heads
    if not receivers:
        why = "No head was found whose" if not found else "All heads found are in layer 0, before which there are none;"
        experiment.report.section(
            f"IOI: {step.title}",
            f"{why} {_input(step)} could be followed back (role: {step.role}), so this ends here.",
        )
        return
    task = search.task[:n]
    names = [f"{head_name(head)}.{step.letter}" for head in receivers]
    effects = search.asked(
        step.name,
        lambda: patching.path_effects(experiment.model, task, names, positions=step.position),
        step.title,
    )
    if effects is None:
        return
    seen = _noted(search, step.effect, effects, len(task))
    cut = f" (of {len(found)}, those with the largest effect)" if len(receivers) < len(found) else ""
    experiment.report.section(
        f"IOI: {step.title}",
        f"{_carriers(seen, step.effect)}\n\n"
        f"The same one step back, on {len(task)} prompts: each head's output comes from the ABC prompt, but only the "
        f"{_input(step)} of {names_of(receivers)}{cut} at {step.position} may notice, together; then "
        f"the model runs on. {step.about}",
    )
    into = f"the {_input(step)} of {names_of(receivers)}"
    caption = f"{path_words(seen, step.effect, into)} {_how(effects, len(task))}"
    show(experiment.report, effects, [caption], len(task), title=f"Paths from every head to {into}", caveat=CHANCE)


def _how(found: PathResult, n: int) -> str:
    return f"A cell: the change of the logit difference by one head's path, of {found.difference:.2f} in all (n = {n})."


def path_words(seen: Measured, effect: str, into: str) -> str:
    """Which head's path into something carries most towards the answer, and which most against it."""
    up, down = (counting({effect: seen}, effect, sign) for sign in (+1, -1))
    if not up and not down:
        best = largest(seen, +1)
        return f"No path into {into} counts; the largest is that of {listed([best], seen)}."
    told = f"Into {into}, " + (f"{listed(up[:1], seen)} carries most towards the answer" if up else "no path helps")
    return f"{told}; {listed(down[:1], seen)} works most against it." if down else f"{told}; none works against it."


def _noted(search: Search, effect: str, found: PathResult, n: int) -> Measured:
    n_layers = int(search.experiment.model.cfg.n_layers)
    search.evidence[effect] = Measured.of(
        found.values, ("effect", "low", "high"), n, whole=found.difference, n_layers=n_layers
    )
    return search.evidence[effect]


def _input(step: Step) -> str:
    return {"q": "queries", "k": "keys", "v": "values"}[step.letter]


def counting(evidence: Evidence, effect: str, sign: int) -> list[Head]:
    """The heads whose effect counts, the largest first."""
    heads = [
        (int(layer), int(head)) for layer, head in counts(effect, rules.SHARES[effect], sign).holds(evidence).nonzero()
    ]
    return sorted(heads, key=lambda head: -abs(float(evidence[effect].mean[head])))


def _writers(search: Search, seen: Measured) -> str:
    up, down = (counting(search.evidence, rules.LOGITS, sign) for sign in (+1, -1))
    bound = f"at least {percent(rules.MIN_DIRECT_SHARE)} of the difference of {seen.whole:.2f}"
    told = [
        f"Towards the answer work, with an interval that excludes 0 and {bound}: {listed(up, seen) or 'none'}. "
        f"Against it: {listed(down, seen) or 'none'} (n = {seen.n}).",
    ]
    labels = rules.labelled(search.evidence)
    meant = [f"{words}: {names_of(labels[label])}" for label, words in _MEANING.items() if labels[label]]
    if meant:
        told.append(f"By what they read and do with it, they are {'; '.join(meant)}.")
    named = {head for label in _MEANING for head in labels[label]}
    silent = [head for head in up + down if head not in named]
    rereading = [head for head in silent if rereads(search.evidence, head)]
    if rereading:
        told.append(
            "Reading no name but the end of the prompt itself, so whatever earlier parts wrote there: "
            f"{names_of(rereading)}."
        )
    rest = [head for head in silent if head not in rereading]
    if rest:
        told.append(f"Of no such kind by the rules below: {names_of(rest)}.")
    return " ".join(told)


def rereads(evidence: Evidence, head: Head) -> bool:
    """Whether a head attends from the end to the end, and less to the names."""
    if "end to end" not in evidence:
        return False
    itself, *names = (float(evidence[pair].mean[head]) for pair in ("end to end", "end to IO", "end to S"))
    return itself >= rules.MIN_ATTENTION and itself > max(names)


_MEANING = {
    "name mover": "name movers, which read the indirect object and raise it",
    "subject suppressor": "subject suppressors, which read the subject and lower it (the paper has none)",
    "negative name mover": "negative name movers, which read the indirect object and lower it",
    "subject mover": "subject movers, which read the subject and raise it (the paper has none)",
}


def _carriers(seen: Measured, effect: str) -> str:
    up, down = (counting({effect: seen}, effect, sign) for sign in (+1, -1))
    return (
        f"Carrying the answer this way, with an interval that excludes 0 and at least {percent(rules.SHARES[effect])} "
        f"of the difference of {seen.whole:.2f}: {listed(up, seen) or 'none'}. Working against it: "
        f"{listed(down, seen) or 'none'} (n = {seen.n})."
    )
