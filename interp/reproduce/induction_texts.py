"""In-context learning on real text, and what the induction heads have to do with it.

Olsson et al. 2022, "In-context Learning and Induction Heads": the loss of the 500th token less that of the 50th.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import torch
from torch import Tensor

from interp.errors import InputError, StorageError
from interp.heads import InContextScore, in_context_score
from interp.heads.token_losses import losses_at
from interp.hooks.head_names import Head, head_name
from interp.hooks.prompts import PromptTokens
from interp.models import identity
from interp.models.tokens import tokenizer_of
from interp.reproduce.asking import joined, several, side, with_interval
from interp.reproduce.detected_heads import Detected
from interp.reproduce.experiment import Experiment
from interp.reproduce.text_knock_outs import CONTINUES, GROUPS, SCORE, TextKnockOut, text_knock_out
from interp.results import FEWEST, Axis, Plot, Result, Values, interval_words, mean_with_interval, range_words
from interp.runs import provenance
from interp.tasks import passage_tokens
from interp.tasks.english_texts import describe_texts
from interp.viz.theme import interval, number

GAINED = "gained by more context"


@dataclass(frozen=True)
class Places:
    """Where losses are read: `window` tokens from `early` on, and as many from `late` on, a BOS counted."""

    early: int
    late: int
    window: int

    @property
    def n_tokens(self) -> int:
        """How many tokens a text needs."""
        return self.late + self.window

    def words(self, start: int) -> str:
        """ "tokens 50 to 99"."""
        return f"tokens {start} to {start + self.window - 1}" if self.window > 1 else f"token {start}"

    def within(self, n_ctx: int | None) -> Places:
        """The same for a model that takes `n_ctx` tokens: as they are, or a tenth and the end of its context."""
        if n_ctx is None or self.n_tokens <= n_ctx:
            return self
        early = max(1, n_ctx // 10)
        window = max(1, min(self.window, early))
        return Places(early, n_ctx - window, window)


class ContextGained(Result):
    """mean, low, high [measure]: loss early and late in a text; the in-context score, late less early; loss of the late
    tokens when the model is shown no more text before them than the early ones have; and what the longer context gains
    on these same tokens. Nats, with 95 % intervals over texts. per_prompt [example, measure].
    """

    kind: ClassVar[str] = "context_gained"


def tell_texts(
    experiment: Experiment, found: Detected, chosen: tuple[Head, ...], places: Places, given: Mapping[str, Any]
) -> None:
    """In-context score on real texts and its change without the chosen heads, into the report.

    given: n texts, n_knocked of which are run without heads, n_random draws, source of the texts, seed, prepend_bos.
    """
    model = experiment.model
    places = places.within(getattr(model.cfg, "n_ctx", None))
    asked = (
        f"Olsson et al. measure in-context learning as the loss late in a text less the loss early in it; here "
        f"{places.words(places.late)} less {places.words(places.early)}, averaged, since a single token a text is too "
        "noisy for so few texts. "
    )
    try:
        tokenizer_of(model)
        texts = passage_tokens(
            model,
            int(given["n"]),
            places.n_tokens,
            seed=int(given["seed"]),
            prepend_bos=bool(given["prepend_bos"]),
            source=given["source"],
        )
    except (InputError, StorageError) as error:
        experiment.skip(f"in-context learning on text: {error}.")
        experiment.report.section("Induction: in-context learning on text", f"{asked}Not measured here: {error}.")
        return
    _tell_score(experiment, texts, places, asked, given)
    _tell_knock_out(experiment, found, chosen, texts[: int(given["n_knocked"])].as_subclass(Tensor), places, given)


def _tell_score(
    experiment: Experiment, texts: PromptTokens, places: Places, asked: str, given: Mapping[str, Any]
) -> None:
    source = describe_texts(given["source"], texts)
    gained = experiment.step(
        "in-context", lambda: context_gained(experiment.model, texts, places, bool(given["prepend_bos"]), source)
    )
    where = (
        "annual messages of the presidents of the United States, 1790 to 2026"
        if given["source"] is None
        else f"texts in {given['source']}"
    )
    text = (
        f"{asked}{len(texts)} passages of {places.n_tokens} tokens, each out of another of the {where}, beginning with "
        "a random paragraph. Late tokens may simply be harder or easier than early ones, so the late tokens are also "
        "predicted with the earlier text cut off: what the model gains on the same tokens by having read more is a "
        f"second measure of the same thing, and a less noisy one.\n\n{_score_finding(gained)}"
    )
    experiment.report.section("Induction: in-context learning on text", text).add(gained, _score_caption(gained))
    for label, name in ((SCORE, "in-context score on text"), (GAINED, "gained on the same tokens")):
        at = gained.sel(measure=label).values
        experiment.number(name, at["mean"], at["low"], at["high"], len(texts), of="texts")


def context_gained(
    model: Any, texts: PromptTokens, places: Places, prepend_bos: bool, source: Mapping[str, Any]
) -> ContextGained:
    """The in-context score, and the same late tokens predicted from as little text as the early ones."""
    started = datetime.now()
    whole: InContextScore = in_context_score(model, texts, early=places.early, late=places.late, window=places.window)
    short = texts.as_subclass(Tensor)[:, places.late - places.early :].clone()
    if prepend_bos:
        short[:, 0] = texts.as_subclass(Tensor)[:, 0]
    positions = torch.arange(places.early, places.early + places.window)
    cut = torch.cat([losses_at(model, rows, positions) for rows in short.split(8)]).mean(1)
    early, late, score = whole.values["per_prompt"].data.unbind(1)
    names = (
        f"{places.words(places.early)}",
        f"{places.words(places.late)}",
        SCORE,
        f"{places.words(places.late)}, text cut off",
        GAINED,
    )
    axes = (Axis("example", tuple(range(len(early)))), Axis("measure", names))
    per_prompt = Values(torch.stack([early, late, score, cut, late - cut], dim=1), axes, "nats")
    return ContextGained(
        values={**mean_with_interval(per_prompt), "per_prompt": per_prompt},
        settings={**whole.settings, "prepend_bos": prepend_bos},
        provenance=provenance(model=identity(model), task=dict(source), started=started),
        plots=(
            Plot(
                "bars",
                "mean",
                x="measure",
                title="Loss early and late in a text",
                caption=f"Mean loss with {interval_words(len(early), 'texts')}; the third bar is the second less the "
                "first, the last is the second less the fourth. Below zero, the model gains from what it has read.",
                caveat="One kind of text; how much there is to gain depends on how much a text repeats itself.",
                low="low",
                high="high",
                options={"y_label": "nats"},
            ),
        ),
    )


def _score_finding(gained: ContextGained) -> str:
    score, more = (
        [gained.sel(measure=label).values[name] for name in ("mean", "low", "high")]
        for label in gained.values["mean"].axis("measure").labels[2::2]
    )
    return (
        f"The score is {with_interval(*score)} nats ({_verdict(score)}); on the same tokens, the longer context "
        f"changes the loss by {with_interval(*more)} nats ({_verdict(more)}). Olsson et al. report about −0.4 for "
        "their models."
    )


def _score_caption(gained: ContextGained) -> str:
    n = len(gained.values["per_prompt"].axis("example"))
    one = gained.sel(measure=GAINED).values
    verdict = {
        -1: "the model predicts the same tokens better for having read more",
        1: "the model predicts the same tokens worse for having read more",
        0: "on these texts nothing is clearly gained by having read more",
        None: "too few texts to say whether having read more helps",
    }[side(one["low"], one["high"])]
    return (
        f"Mean loss with {interval_words(n, 'texts')}; the third bar is the second less the first, the last is the "
        f"second less the fourth: {verdict}."
    )


def _verdict(number_with_bounds: list[Values]) -> str:
    unclear = "not to be told from zero with so few texts"
    return {-1: "a gain", 1: "a loss", 0: unclear, None: "too few texts to say"}[side(*number_with_bounds[1:])]


def _tell_knock_out(
    experiment: Experiment,
    found: Detected,
    chosen: tuple[Head, ...],
    texts: Tensor,
    places: Places,
    given: Mapping[str, Any],
) -> None:
    n_random = int(given["n_random"])
    heads = f"{several(len(chosen), found.noun('induction'))} ({', '.join(head_name(head) for head in chosen)})"
    asked = (
        f"On {len(texts)} of these passages {heads} write nothing, then {several(n_random, 'draw')} of as many random "
        "heads of the same layers. Beside the in-context score, the loss is read where an induction head "
        "could help at once: at tokens that follow their predecessor as they did earlier in the passage (A B ... A B)."
    )
    try:
        knocked = experiment.step(
            "text-knock-out",
            lambda: text_knock_out(
                experiment.model,
                chosen,
                texts,
                places.early,
                places.late,
                places.window,
                n_random=n_random,
                exclude=found.every(),
                seed=int(given["seed"]),
            ),
        )
    except InputError as error:
        experiment.skip(f"text without these heads: {error}.")
        experiment.report.section("Induction: text without these heads", f"{asked} Not measured here: {error}.")
        return
    text = f"{asked}\n\n{_knock_out_finding(knocked)}"
    caption = _knock_out_caption(knocked, len(texts), n_random)
    experiment.report.section("Induction: text without these heads", text).add(knocked, caption)
    for label, name in ((SCORE, "in-context score"), (CONTINUES, f"loss at {CONTINUES}")):
        at = knocked.sel(measure=label, heads=GROUPS[0]).values
        experiment.number(f"change of {name}", at["effect"], at["low"], at["high"], len(texts), "nats more", of="texts")


def beside_random(knocked: TextKnockOut, label: str) -> str:
    """ "more than", "less than" or "no more than" random heads; "compared with" where there are too few draws."""
    at = knocked.sel(measure=label).values
    effect = float(at["effect"].sel(heads=GROUPS[0]).data)
    low, high = (float(at[name].sel(heads=GROUPS[1]).data) for name in ("low", "high"))
    if low != low:
        return "compared with"
    return "more than" if effect > high else "less than" if effect < low else "no more than"


def _knock_out_finding(knocked: TextKnockOut) -> str:
    parts = []
    for label in (SCORE, CONTINUES):
        at = knocked.sel(measure=label).values
        chosen = [at[name].sel(heads=GROUPS[0]) for name in ("effect", "low", "high")]
        random, low, high = (float(at[name].sel(heads=GROUPS[1]).data) for name in ("effect", "low", "high"))
        spread = f", 95 % of draws {interval(low, high)}" if low == low else ""
        parts.append(
            f"The {'score' if label == SCORE else 'loss of ' + label} changes by {with_interval(*chosen)} nats without "
            f"them, {beside_random(knocked, label)} without random heads ({number(random)} on average{spread})."
        )
    share = float(knocked.values["share"].data)
    return " ".join(parts) + f" Such tokens are {share:.0%} of these passages."


def _knock_out_caption(knocked: TextKnockOut, n: int, n_random: int) -> str:
    more = [label for label in (SCORE, CONTINUES) if beside_random(knocked, label) == "more than"]
    named = {SCORE: "the in-context score", CONTINUES: f"the loss of {CONTINUES}"}
    if more:
        told = f"{joined([named[label] for label in more])} {'rises' if len(more) == 1 else 'rise'} more than"
    elif n_random < FEWEST:
        told = "too few draws for a comparison with what happens"
    else:
        told = f"neither {named[SCORE]} nor {named[CONTINUES]} rises more than"
    return (
        f"Change of the loss on text when the heads write nothing: {told} without random heads. These heads: "
        f"{interval_words(n, 'texts')}; random heads: {range_words(n_random)}."
    )
