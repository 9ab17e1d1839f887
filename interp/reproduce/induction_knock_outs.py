"""What hangs on the induction heads: the loss on repetition without them, against as many random heads.

Olsson et al. 2022, "In-context Learning and Induction Heads", argument 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import torch

from interp import heads
from interp.circuits.head_level.resampling import shares_of
from interp.heads import KnockOut
from interp.heads.knocking_out import WAYS
from interp.hooks.head_names import Head, head_name
from interp.models import identity
from interp.reproduce.asking import ask, several, with_interval
from interp.reproduce.detected_heads import Detected
from interp.reproduce.experiment import Experiment
from interp.results import FEWEST, Axis, Plot, Result, Values, interval_words, range_words
from interp.runs import provenance
from interp.viz.theme import interval, number

COPIES = ("first copy", "second copy")
GROUPS = ("these heads", "random heads")
KEYS = ("second_copy", "second_low", "second_high")


class InductionKnockOuts(Result):
    """second_copy, second_low, second_high [way, heads]: change of the loss of the second copy, nats; for the induction
    heads the mean over prompts with its 95 % interval, for random heads the mean over draws with the range of 95 % of
    them. effect, low, high [loss, heads]: the same of either copy. exceeded [loss]: share of draws with at least the
    same effect. intact [copy]: loss without a knock-out. draws [loss, draw]. kept, kept_low, kept_high: the effect on
    the second copy with all attention kept, as a share of the effect of zero, with its interval over prompts.
    """

    kind: ClassVar[str] = "induction_knock_outs"


def tell_knock_outs(
    experiment: Experiment, found: Detected, chosen: tuple[Head, ...], n_random: int, repeated: Mapping[str, Any]
) -> None:
    """Knock out the chosen heads in three ways on repeated random tokens, into the report.

    n_random: draws of as many heads of the same layers that are detected as nothing. repeated: n, length, seed and
    prepend_bos of the prompts.
    """
    model, n, noun = experiment.model, int(repeated["n"]), found.noun("induction")
    options = {"n_random": n_random, "exclude": found.every(), **repeated}
    done: dict[str, KnockOut] = {}
    for way in WAYS:
        one, why_not = ask(
            experiment,
            f"knock-out-{way}",
            lambda way=way: heads.knock_out(model, chosen, value=way, **options),  # type: ignore[misc]
            "the loss without these heads",
        )
        if one is None:
            break
        done[way] = one
    asked = (
        f"{several(len(chosen), noun)} ({', '.join(head_name(head) for head in chosen)}), silenced in three ways on "
        f"{n} prompts of repeated random tokens: writing nothing (zero), writing the mean output (mean), or writing "
        "nothing while every head of the model keeps the attention that it had (pattern-preserving), so that later "
        "heads lose the content only and not a place to look. Silencing any heads may hurt, so "
        f"{several(n_random, 'draw')} of as many random heads of the same layers, none of them detected as "
        "anything, are silenced in the same ways. "
    )
    if len(done) < len(WAYS):
        experiment.report.section("Induction: without these heads", asked + why_not)
        return
    compared = experiment.step("knock-outs-compared", lambda: compare_knock_outs(model, done))
    text = f"{asked}\n\n{_finding(compared)}"
    if not all(one.settings["layers_matched"] for one in done.values()):
        text += " Some layers have too few other heads; the rest of those draws came from any layer."
    report = experiment.report.section("Induction: without these heads", text)
    report.add(compared, _bars_caption(compared, n, n_random), plot=0)
    report.add(compared, _table_caption(compared, n, n_random), plot=1)
    for group, words, n_of, of in zip(GROUPS, (noun, "random head"), (n, n_random), ("prompts", "draws")):
        at = compared.sel(way="zero", heads=group).values
        name = f"second copy, {several(len(chosen), words)} to zero{' (range of draws)' * (of == 'draws')}"
        experiment.number(name, at["second_copy"], at["second_low"], at["second_high"], n_of, "nats more", of=of)


def compare_knock_outs(model: Any, done: Mapping[str, KnockOut]) -> InductionKnockOuts:
    """The ways side by side, on both copies."""
    started = datetime.now()
    first = next(iter(done.values()))
    rows = [(copy, way) for copy in COPIES for way in done]
    axis, groups = Axis("loss", tuple(f"{copy}, {way}" for copy, way in rows)), Axis("heads", GROUPS)

    def beside(name: str) -> Values:
        data = torch.stack([done[way].values[name].sel(measure=copy).data for copy, way in rows])
        return Values(data, (axis, groups), "nats")

    effect, low, high = beside("effect"), beside("low"), beside("high")
    second = [label for label in axis.labels if str(label).startswith(COPIES[1])]
    ways = Axis("way", tuple(done))
    values = {
        name: Values(whole.sel(loss=second).data, (ways, groups), "nats")
        for name, whole in (("second_copy", effect), ("second_low", low), ("second_high", high))
    }
    values |= {"effect": effect, "low": low, "high": high}
    values["exceeded"] = Values(
        torch.stack([done[way].values["exceeded"].sel(measure=copy).data for copy, way in rows]), (axis,), "share"
    )
    values["intact"] = Values(first.values["intact"].sel(measure=list(COPIES)).data, (Axis("copy", COPIES),), "nats")
    draws = torch.stack([done[way].values["draws"].sel(measure=copy).data for copy, way in rows])
    zero, kept = (
        done[way].values["per_prompt"].sel(measure=COPIES[1], condition="chosen").data
        for way in ("zero", "pattern-preserving")
    )
    for name, share in zip(("kept", "kept_low", "kept_high"), shares_of(zero, kept[:, None])):
        values[name] = Values(share[0], (), "share")
    values["draws"] = Values(draws, (axis, Axis("draw", tuple(range(draws.shape[1])))), "nats")
    return InductionKnockOuts(
        values=values,
        settings={name: value for name, value in first.settings.items() if name != "value"} | {"ways": list(done)},
        provenance=provenance(model=identity(model), seed=first.provenance.seed, started=started),
        plots=_plots(len(first.settings["heads"]), int(first.settings["n"]), draws.shape[1]),
    )


def _plots(n_heads: int, n: int, n_random: int) -> tuple[Plot, Plot]:
    caveat = "Other heads may take over what these did, so the loss understates what they contribute when whole."
    return (
        Plot(
            "bars",
            "second_copy",
            x="way",
            series="heads",
            title=f"Loss of the second copy without {several(n_heads, 'head')}",
            caption=f"How much the loss of the second copy rises when the heads fall silent. {_whiskers(n, n_random)}",
            caveat=caveat,
            low="second_low",
            high="second_high",
            options={"y_label": "change of the loss (nats)", "x_label": "way of silencing", "horizontal": True},
        ),
        Plot(
            "table",
            "effect",
            y="loss",
            x="heads",
            title="Both copies",
            caption="The same for both copies (nats): knocking the heads out should leave the first copy, where there "
            "is nothing to look back to, about as it was.",
            low="low",
            high="high",
        ),
    )


def _whiskers(n: int, n_random: int) -> str:
    return f"These heads: {interval_words(n, 'prompts')}; random heads: {range_words(n_random)}."


def stands_out(compared: InductionKnockOuts, way: str = "zero") -> bool | None:
    """Whether the heads do more to the second copy than random ones; None where there are too few prompts to say."""
    at = compared.sel(way=way).values
    low = float(at["second_low"].sel(heads=GROUPS[0]).data)
    draws = compared.values["draws"].sel(loss=f"{COPIES[1]}, {way}").data
    if low != low or len(draws) < FEWEST:
        return None
    exceeded = float(compared.values["exceeded"].sel(loss=f"{COPIES[1]}, {way}").data)
    return exceeded <= 0.05 and low > max(float(at["second_high"].sel(heads=GROUPS[1]).data), 0.0)


def _bars_caption(compared: InductionKnockOuts, n: int, n_random: int) -> str:
    more = [way for way in compared.settings["ways"] if stands_out(compared, str(way))]
    every = len(more) == len(compared.settings["ways"])
    if more:
        told = f"more than without random heads, {'whatever is put in their place' if every else ' and '.join(more)}"
    elif stands_out(compared) is None:
        told = "too few prompts or draws to compare them with random heads"
    else:
        told = "not clearly more than without random heads"
    return f"Change of the loss of the second copy when the heads fall silent: {told}. {_whiskers(n, n_random)}"


def _table_caption(compared: InductionKnockOuts, n: int, n_random: int) -> str:
    first, second = (
        max((float(compared.values["effect"].sel(loss=f"{copy}, {way}", heads=GROUPS[0]).data) for way in
             compared.settings["ways"]), key=abs)
        for copy in COPIES
    )  # fmt: skip
    return (
        "The same for both copies (nats). In the first copy there is nothing to look back to, and the loss changes by "
        f"{number(first)} at most, in the second by {number(second)}. {_whiskers(n, n_random)}"
    )


def _finding(compared: InductionKnockOuts) -> str:
    at = compared.values
    saved = float(at["intact"].data[0] - at["intact"].data[1])
    by_way = {way: compared.sel(way=way).values for way in at["second_copy"].axis("way").labels}
    chosen = {way: [one[name].sel(heads=GROUPS[0]) for name in KEYS] for way, one in by_way.items()}
    random, low, high = (float(by_way["zero"][name].sel(heads=GROUPS[1]).data) for name in KEYS)
    n_draws = len(at["draws"].axis("draw"))
    as_much = round(float(at["exceeded"].sel(loss=f"{COPIES[1]}, zero").data) * n_draws)
    of_saved = f", of the {number(saved)} that repetition saves the whole model" if saved > 0 else ""
    verb = "raise" if float(chosen["zero"][0].data) > 0 else "change"
    spread = f" (95 % of draws {interval(low, high)})" if low == low else ""
    text = (
        f"Set to zero, they {verb} the loss of the second copy by {with_interval(*chosen['zero'])} nats{of_saved}. "
        f"Random heads change it by {number(random)} on average{spread}, and "
        f"{as_much or 'none'} of {several(n_draws, 'draw')} did as much. With their mean in place it changes by "
        f"{with_interval(*chosen['mean'])}, with all attention kept by {with_interval(*chosen['pattern-preserving'])}."
    )
    if stands_out(compared) is None:
        return f"{text} That is too few prompts or draws to tell them from random heads."
    if not stands_out(compared):
        return f"{text} On these prompts, then, they cannot be told from random heads."
    return f"{text} So {kept_share(compared)} of the effect does not go through where later heads look."


def kept_share(compared: InductionKnockOuts) -> str:
    """ "74 % [69, 78]", of the effect that stays when all attention is kept."""
    share, low, high = (100 * float(compared.values[name].data) for name in ("kept", "kept_low", "kept_high"))
    return f"{share:.0f} % {interval(round(low), round(high)) if low == low else ''}".strip()
