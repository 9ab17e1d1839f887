"""What heads look at and copy in the IOI prompts, whatever comes of it."""

from __future__ import annotations

from typing import Any

from interp import heads
from interp.hooks.head_names import Head, head_name
from interp.reproduce import ioi_roles as rules
from interp.reproduce.asking import joined
from interp.reproduce.ioi_attention import PAIRS, role_attention
from interp.reproduce.ioi_evidence import Evidence, Measured
from interp.reproduce.ioi_paths import Search
from interp.reproduce.ioi_settings import IoiSettings
from interp.reproduce.ioi_words import largest, listed, show
from interp.tasks import PromptPairs


def habits(search: Search, task: PromptPairs, settings: IoiSettings) -> None:
    """Attention between the named tokens, previous-token scores and name copying, into the evidence and the report."""
    model, report = search.experiment.model, search.experiment.report
    looks = search.asked("role-attention", lambda: role_attention(model, task), "where heads look")
    options: dict[str, Any] = {"seed": settings.seed, "prepend_bos": settings.prepend_bos}
    options |= {"n": settings.n_random, "length": min(50, int(model.cfg.n_ctx) // 2 - 1)}  # a short context
    random = search.asked("random-scores", lambda: heads.scores(model, **options), "head scores on random tokens")
    names = task[: settings.n_copying]
    copying = search.asked("name-copying", lambda: heads.name_copying(model, names), "name copying")
    if looks is not None:
        search.evidence.update(looks.evidence())
    if random is not None:
        score = ("score", "low", "high")
        search.evidence[rules.PREVIOUS] = Measured.of(random.values, score, settings.n_random, kind="previous")
    if copying is not None:
        for name, sign in ((rules.COPIES, "copies"), (rules.SUPPRESSES, "suppresses")):
            search.evidence[name] = Measured.of(copying.values, ("share", "low", "high"), len(names), sign=sign)
    seen = search.evidence
    report.section(
        "IOI: where heads look and what they copy",
        " ".join([*(_looking(seen) if looks is not None else ()), *(_counted(seen) if copying is not None else ())])
        + "\n\nA head's role needs more than an effect: it has to look where the role looks. Below, the attention "
        f"between the named tokens ({len(task)} prompts, and the same places of ABC prompts, where no name comes "
        "twice), and what each head would do to a name's logit if it attended to that name alone "
        f"({len(names)} prompts, three names each). Neither says that a head matters; that is asked by path patching, "
        "next.",
    )
    if looks is not None:
        show(report, looks, [f"{_strongest(seen)} Mean over {len(task)} clean prompts."], len(task))
    if copying is not None:
        caption = (
            f"{' '.join(_copying(seen))} Copied: among the 5 tokens that the head raises most; suppressed: lowers."
        )
        show(report, copying, [caption], len(names))


def _strongest(seen: Evidence) -> str:
    """The head that looks most from each named token to another."""
    words = []
    for pair in PAIRS:
        head = largest(seen[pair], +1)
        words.append(f"{pair}: {head_name(head)} ({seen[pair].told(head)})")
    return f"The head that looks most, by the named tokens: {'; '.join(words)}."


def _looking(seen: Evidence) -> list[str]:
    """How many heads look at each name from the end, and back from S2 because of the repetition."""
    found = {pair: _reaching(seen[pair], rules.MIN_ATTENTION) for pair in PAIRS}
    at_names = [f"{len(found[f'end to {name}'])} look at {name}" for name in ("IO", "S")]
    back = []
    for pair in ("S2 to S1", "S2 to S1+1"):
        gone = seen[pair + rules.BEYOND]
        back += [
            head
            for head in found[pair]
            if float(gone.low[head]) > 0
            and float(gone.mean[head]) >= rules.MIN_FOR_THE_REPETITION * float(seen[pair].mean[head])
        ]
    n_heads = seen["end to IO"].mean.numel()
    bound = f"mean attention {rules.MIN_ATTENTION} or more"
    told = f"Of {n_heads} heads {joined(at_names)} from the end of the prompt ({bound})"
    if not back:
        return [f"{told}; none looks back from S2 to S1 or to the token behind it because the name is repeated."]
    several = len(set(back))
    return [
        f"{told}; {several} look{'s' * (several == 1)} back from S2 to S1 or to the token behind it, mostly because "
        "the name is repeated: in ABC prompts at least half of that attention is gone."
    ]


def _counted(seen: Evidence) -> list[str]:
    """How many heads raise or lower most of the names they attend to."""
    raised, lowered = (len(_reaching(seen[name], rules.MIN_COPYING)) for name in (rules.COPIES, rules.SUPPRESSES))
    return [
        f"{raised or 'None'} would raise and {lowered or 'none'} would lower most of the names that they attend to."
    ]


def _copying(seen: Evidence) -> list[str]:
    """The heads that raise, and those that lower, most of the names they attend to."""
    words = []
    for name, verb in ((rules.COPIES, "raise"), (rules.SUPPRESSES, "lower")):
        found = _reaching(seen[name], rules.MIN_COPYING)
        if found:
            words.append(
                f"{len(found)} would {verb} most names that they attend to, first {listed(found[:3], seen[name])}"
            )
        else:
            best = largest(seen[name], +1)
            words.append(
                f"none would {verb} most names that it attends to (the nearest is {listed([best], seen[name])})"
            )
    return [f"Of the heads {joined(words)}, as shares of the names."]


def _reaching(seen: Measured, least: float) -> list[Head]:
    """The heads whose mean is at least this, largest first."""
    found = [(int(layer), int(head)) for layer, head in (seen.mean >= least).nonzero()]
    return sorted(found, key=lambda head: -float(seen.mean[head]))
