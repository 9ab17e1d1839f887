"""What was found about induction in a model, in a few sentences made from the numbers: the abstract of the report."""

from __future__ import annotations

from typing import Any, cast

from interp.models import identity
from interp.reproduce.asking import joined, several, side, with_interval
from interp.reproduce.detected_heads import THRESHOLD, Detected
from interp.reproduce.experiment import Experiment
from interp.reproduce.induction_behaviour import saved_by_repetition
from interp.reproduce.induction_composition import GROUPS as PAIRS
from interp.reproduce.induction_composition import InductionComposition, fits_better
from interp.reproduce.induction_copying import InductionCopying, above_half
from interp.reproduce.induction_knock_outs import InductionKnockOuts, kept_share, stands_out
from interp.reproduce.induction_texts import GAINED, ContextGained, beside_random
from interp.reproduce.phase_change_told import PhaseChange, what_changed
from interp.reproduce.text_knock_outs import CONTINUES, GROUPS, SCORE, TextKnockOut
from interp.results import FEWEST
from interp.viz.theme import number


def summary(experiment: Experiment, found: Detected, changed: Experiment | None) -> str:
    """The abstract: what the model does, with which heads, and what else was found; only of what was measured.

    changed: the experiment on models in training, where there was one.
    """
    done = experiment.results
    first = [_behaviour(experiment), _heads(experiment, found)]
    if "knock-outs-compared" in done:
        first.append(_knock_outs(cast(InductionKnockOuts, done["knock-outs-compared"]), found))
    second = []
    if "copying-compared" in done:
        second.append(_copying(cast(InductionCopying, done["copying-compared"])))
    if "composition-compared" in done:
        second.append(_composition(cast(InductionComposition, done["composition-compared"])))
    if "in-context" in done:
        second.append(_texts(done))
    third = []
    if changed is not None:
        compared = cast(PhaseChange, changed.results["compared"])
        third.append(f"Small attention-only models were trained here on random sequences. {what_changed(compared)}")
    return "\n\n".join(" ".join(part for part in parts if part) for parts in (first, second, third))


def _behaviour(experiment: Experiment) -> str:
    loss = cast(Any, experiment.results["loss"])
    who, n = identity(experiment.model)["id"], len(loss.values["per_prompt"].axis("example"))
    saved = saved_by_repetition(loss)
    first, second = (float(loss.values["copies"].sel(copy=copy).data) for copy in (1, 2))
    prompts = f"{several(n, 'prompt')} of {loss.settings['length']} random tokens that come again"
    levels = f"from {number(first)} to {number(second)} nats"
    verdict = {
        1: f"repetition saves {who} {with_interval(*saved)} nats: its loss goes {levels}",
        0: f"repetition does not clearly change the loss of {who} ({levels}; saved {with_interval(*saved)})",
        -1: f"repetition costs {who} something: its loss goes {levels} (saved {with_interval(*saved)})",
        None: f"the loss of {who} goes {levels}, without an interval, since fewer than {FEWEST} prompts give none",
    }
    return f"Induction heads, after Olsson et al. 2022. On {prompts}, {verdict[side(*saved[1:])]}."


def _heads(experiment: Experiment, found: Detected) -> str:
    scores = experiment.results["scores"]
    (layer, head), _ = found.shown("induction", 1)[0]
    at = scores.sel(kind="induction", layer=layer, head=head).values
    best = with_interval(at["score"], at["low"], at["high"])
    n_previous = len(found.heads["previous"])
    previous = f"{n_previous or 'no'} head{'s' * (n_previous != 1)}"
    if not found.heads["induction"]:
        return (
            f"No head looks back as an induction head does: the highest score is {best} ({layer}.{head}), below "
            f"{THRESHOLD}, and what follows is about the heads that come nearest. {previous.capitalize()} "
            f"look{'s' * (n_previous == 1)} at the token before."
        )
    n = len(found.heads["induction"])
    return (
        f"{several(n, 'head')} look{'s' * (n == 1)} back as induction heads do, most of all {layer}.{head} ({best} of "
        f"its attention), and {previous} at the token before."
    )


def _knock_outs(compared: InductionKnockOuts, found: Detected) -> str:
    zero = compared.sel(way="zero").values
    effect = [zero[name].sel(heads="these heads") for name in ("second_copy", "second_low", "second_high")]
    random = with_interval(
        *(zero[name].sel(heads="random heads") for name in ("second_copy", "second_low", "second_high"))
    )
    n_prompts, n_draws = compared.settings["n"], compared.settings["n_random"]
    n = len(compared.settings["heads"])
    text = (
        f"Without {'this' if n == 1 else 'these'} {several(n, found.noun('induction')).removeprefix('1 ')} the loss on "
        f"the second copy changes by {with_interval(*effect)} nats ({several(n_prompts, 'prompt')}), without as many "
        f"random heads by {random} (the range of {several(n_draws, 'draw')})"
    )
    verdict = stands_out(compared)
    if verdict:
        return f"{text}; {kept_share(compared)} of that remains when all attention is kept as it was."
    return f"{text}: {'no clear difference' if verdict is False else 'too few prompts or draws to compare'}."


def _copying(compared: InductionCopying) -> str:
    above, rest = above_half(compared)
    n, rank = len(compared.settings["groups"]["these heads"]), compared.sel(group="these heads").values["rank"].data
    if n < FEWEST:
        low, high = number(float(rank.min())), number(float(rank.max()))
        span = low if low == high else f"{low} to {high}"
        heads = "Among all heads it ranks" if n == 1 else f"Among all heads these {n} rank"
        return f"{heads} at {span} in copying, by four measures (0 lowest, 1 highest; no interval)."
    if not above:
        return "These heads do not clearly copy more than others, by any of the four measures."
    unclear = f", not clearly {joined(rest)}" if rest else ""
    return f"They rank above the middle of all heads in copying {joined(above)}{unclear}."


def _composition(compared: InductionComposition) -> str:
    pairs, neither = (compared.sel(pairs=PAIRS[i]).values for i in (0, 3))
    verdict = fits_better(compared)
    if not int(pairs["n"].data):
        return ""
    told = with_interval(pairs["score"], pairs["low"], pairs["high"])
    if verdict is None:
        return f"Their keys compose with what previous-token heads write with {told}, too few pairs to compare."
    beside = with_interval(neither["score"], neither["low"], neither["high"])
    return (
        f"By their weights, their keys {'fit' if verdict else 'do not clearly fit'} what previous-token heads write "
        f"better than what other heads do: K-composition {told} ({several(int(pairs['n'].data), 'pair')}), other heads "
        f"{beside} ({several(int(neither['n'].data), 'pair')}); most of it may come from a few pairs."
    )


def _texts(done: Any) -> str:
    gained = cast(ContextGained, done["in-context"])
    n = len(gained.values["per_prompt"].axis("example"))
    one = [gained.sel(measure=GAINED).values[name] for name in ("mean", "low", "high")]
    passages = f"On {several(n, 'passage')} of text"
    text = f"{passages}, having read more changes the loss of the same tokens by {with_interval(*one)} nats"
    if "text-knock-out" not in done:
        return f"{text}."
    knocked = cast(TextKnockOut, done["text-knock-out"])
    parts = []
    for label, name in ((SCORE, "the in-context score"), (CONTINUES, f"the loss of {CONTINUES}")):
        at = knocked.sel(measure=label).values
        told = with_interval(*(at[key].sel(heads=GROUPS[0]) for key in ("effect", "low", "high")))
        random = with_interval(*(at[key].sel(heads=GROUPS[1]) for key in ("effect", "low", "high")))
        parts.append(f"{name} changes by {told}, {beside_random(knocked, label)} without random heads ({random})")
    n_texts, n_draws = knocked.settings["n"], knocked.settings["n_random"]
    counted = f"({several(n_texts, 'passage')}; of random heads the range of {several(n_draws, 'draw')})"
    return f"{text}. Without these heads {joined(parts)} {counted}."
