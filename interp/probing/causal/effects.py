"""What a change of states does: to what the model answers, to what it predicts at all, and to unrelated text."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.models import identity
from interp.probing.causal.answers import margins
from interp.probing.causal.changed_tokens import changed, place_note
from interp.probing.causal.preparing import Prepared
from interp.probing.causal.stages import Edit, Stage
from interp.probing.scoring import mean_and_interval
from interp.probing.splitting import numbered
from interp.results import Axis, Values

CONTROLS = ("same rank", "same rank and size")
"""Random subspaces of as many dimensions: as they are, and made to move each state as far."""
RANDOM = "random "
"""Begins the name of what a random control gave, among the tensors of a part."""
TEXT_DRAWS = 5
"""Draws of a random control that are also tried on unrelated text, which costs more."""
SHARES = ("right", "turned", "accuracy", "kept")
HALF = 0.5
"""Below this share of right answers by the unchanged model, a change of its answers says little."""


@dataclass(eq=False)
class Trials:
    """Held-out examples and unrelated text, to be changed in as many ways as one likes.

    labels: class of each example. margin: of the unchanged model (own class less the others, in logits), None where the
    task has no answers.
    """

    prepared: Prepared
    task: Stage = field(init=False)
    text: Stage = field(init=False)
    text_name: str = field(init=False)
    margin: Float[Tensor, " place"] | None = field(init=False)

    def __post_init__(self) -> None:
        self.task = self.prepared.stage(self.prepared.test)
        self.text, self.text_name = self.prepared.text(self.task.places)
        self.labels = self.prepared.data.labels[self.prepared.test]
        self.groups = numbered(self.prepared.groups[self.prepared.test].tolist())
        self.text_groups = self.text.places.groups
        answers = self.prepared.answers
        self.margin = (
            None if answers is None else self.margins_of(self._by_class(self.task.log_probs[:, answers.columns]))
        )

    def margins_of(self, by_class: Float[Tensor, "place class"]) -> Float[Tensor, " place"]:
        """Logit of each example's own class less the mean of the others."""
        return margins(by_class, self.labels).float().cpu()

    def _by_class(self, logits: Float[Tensor, "place answer"]) -> Float[Tensor, "place class"]:
        assert self.prepared.answers is not None
        return self.prepared.answers.by_class(logits, self.prepared.n_classes).cpu()

    @property
    def preferred(self) -> Int[Tensor, " place"]:
        """The class whose answers the unchanged model prefers; only for tasks with answers."""
        assert self.prepared.answers is not None
        return self._by_class(self.task.log_probs[:, self.prepared.answers.columns]).argmax(1)

    @torch.no_grad()
    def class_logits(self, layer: int, edit: Edit) -> Float[Tensor, "place class"]:
        """Mean logit of the answers of each class after a change; only for tasks with answers.

        layer: its index among those that are asked.
        """
        assert self.prepared.answers is not None
        return self._by_class(self.task.logits(self.prepared.sites[layer], edit, self.prepared.answers.columns))

    @torch.no_grad()
    def effect(self, layer: int, edit: Edit) -> Float[Tensor, " place"]:
        """How much the margin of each example falls, in logits; without answers the KL from the unchanged prediction.

        Only the columns of the answers are computed, where there are some.
        """
        if self.margin is None:
            return _kl(self.task.log_probs, self.task.logits(self.prepared.sites[layer], edit))
        return self.margin - self.margins_of(self.class_logits(layer, edit))

    @torch.no_grad()
    def on_task(self, layer: int, edit: Edit) -> dict[str, Float[Tensor, " place"]]:
        """effect (see there), kl, and with answers right: whether the own class is preferred."""
        logits = self.task.logits(self.prepared.sites[layer], edit)
        kl = _kl(self.task.log_probs, logits)
        if self.prepared.answers is None or self.margin is None:
            return {"effect": kl, "kl": kl}
        margin = self.margins_of(self._by_class(logits[:, self.prepared.answers.columns.to(logits.device)]))
        return {"effect": self.margin - margin, "kl": kl, "right": (margin > 0).float()}

    @torch.no_grad()
    def on_text(self, layer: int, edit: Edit) -> dict[str, Float[Tensor, " place"]]:
        """text_kl, and text_loss: the increase of the loss on the next token, both in nats."""
        logits = self.text.logits(self.prepared.sites[layer], edit)
        following = self.text.places.following.to(logits.device)[:, None]
        before = self.text.log_probs.gather(1, following)[:, 0]
        after = logits.float().log_softmax(-1).gather(1, following)[:, 0]
        return {"text_kl": _kl(self.text.log_probs, logits), "text_loss": (before - after).cpu()}

    def unit(self, name: str) -> str:
        """In what a quantity is measured."""
        if name in SHARES:
            return "share"
        return "logits" if name == "effect" and self.margin is not None else "nats"

    def means(self, name: str, each: Float[Tensor, "*setting place"], axes: tuple[Axis, ...]) -> dict[str, Values]:
        """A quantity of every example or text as its mean with an interval; what "text" begins is of texts."""
        groups = self.text_groups if name.startswith("text") else self.groups
        return with_intervals(name, each, groups, axes, self.unit(name))

    def each_effect(self, each: Float[Tensor, "*setting place"], axes: tuple[Axis, ...]) -> dict[str, Values]:
        """The effect on every example, as effect_each."""
        examples = Axis("example", tuple(range(each.shape[-1])))
        return {"effect_each": Values(each, (*axes, examples), self.unit("effect"))}

    def drawn(self, name: str, draws: Float[Tensor, "*setting draw"], axes: tuple[Axis, ...]) -> dict[str, Values]:
        """Mean effects of random controls, as random_NAME."""
        draw = Axis("draw", tuple(range(draws.shape[-1])))
        return {f"random_{name}": Values(draws, (*axes, draw), self.unit(name))}

    @property
    def notes(self) -> list[str]:
        """What readers should know of the behaviour."""
        task = self.prepared.data.name.replace("_", " ")
        if self.margin is None:
            return [
                f"the task {task!r} has no answers by which the model says a class: effects are the KL divergence of "
                "its next-token prediction from the unchanged one, which says that something changed, not what",
                place_note(self.changed),
                *last_block_words(self.last_block),
            ]
        share = float((self.margin > 0).float().mean())
        found = [*self.prepared.data.notes]
        if lacks_behaviour(share, self.prepared.n_classes):
            found.append(
                f"the unchanged model prefers the right answer for {share:.0%} of the examples: it does not have this "
                "behaviour, and no change of its answers can show that it uses the property"
            )
        return [*found, place_note(self.changed), *last_block_words(self.last_block)]

    @property
    def changed(self) -> dict[str, Any]:
        """Which tokens of the task are changed, and where the prediction is read; see `changed_tokens`."""
        answers = self.prepared.answers
        return changed(self.prepared.model, self.prepared.position, self.task.places, answers.after if answers else "")

    @property
    def last_block(self) -> dict[str, Any] | None:
        """The model's last block where its output is changed, and whether the prediction is read at the same token."""
        last, asked = int(self.prepared.model.cfg.n_layers) - 1, self.prepared.question
        if asked.site != "resid_post" or last not in self.prepared.layers:
            return None
        return {"layer": last, "read_there": bool((self.task.places.read == self.task.places.at).any())}

    def describe(self) -> dict[str, Any]:
        """Settings that every result states beside those of `Prepared`."""
        return {"text": self.text_name, "last_block": self.last_block, "changed": self.changed}

    def asked(self, test: str, **own: Any) -> dict[str, Any]:
        """Everything that decides the numbers of a part of a test; own: the test's options."""
        answers, places = self.prepared.answers, self.text.places
        text = hashlib.sha256()
        for name, tensor in sorted(vars(places).items()):
            text.update(f"{name} {tuple(tensor.shape)}".encode() + tensor.cpu().contiguous().numpy().tobytes())
        return {
            "test": test,
            "model": identity(self.prepared.model),
            "data": self.prepared.data.describe(),
            **self.prepared.describe(),
            "answer_tokens": None if answers is None else [answers.columns.tolist(), answers.classes.tolist()],
            "text_sha256": text.hexdigest(),
            "batch_size": self.prepared.question.batch_size,
            **own,
        }

    def baseline(self) -> dict[str, Values]:
        """The unchanged model: share of right answers and mean margin, where there are answers."""
        if self.margin is None:
            return {}
        examples = Axis("example", tuple(range(len(self.margin))))
        return {
            "unchanged_right": Values((self.margin > 0).float().mean(), (), "share"),
            "unchanged_margin": Values(self.margin.mean(), (), "logits"),
            "unchanged_margin_each": Values(self.margin, (examples,), "logits"),
        }


def lacks_behaviour(right: float, n_classes: int) -> bool:
    """Whether the unchanged model's share of right answers is about what guessing between two classes gives."""
    return n_classes == 2 and right < HALF + 0.1


def last_block_words(last_block: Mapping[str, Any] | None) -> list[str]:
    """What a change of the last block's output means, which no block computes with any more; nothing where it is left.

    last_block: see `Trials.last_block`.
    """
    if last_block is None:
        return []
    after = (
        "whose output goes straight to the prediction: a change there changes the answer itself, and does not show "
        "that the model computes with the property"
        if last_block["read_there"]
        else "whose output does not reach other tokens, and the prediction is read at a later one: a change there has "
        "no effect, whatever the model uses"
    )
    return [f"layer {last_block['layer']} is the last block, {after}"]


def with_intervals(
    name: str, each: Float[Tensor, "*setting place"], groups: Int[Tensor, " place"], axes: tuple[Axis, ...], unit: str
) -> dict[str, Values]:
    """Mean over places with the ends of its cluster bootstrap interval, as NAME, NAME_low, NAME_high."""
    ends = zip(("", "_low", "_high"), mean_and_interval(each, groups))
    return {name + end: Values(data, axes, unit) for end, data in ends}


def share_at_least(real: Float[Tensor, "*setting"], draws: Float[Tensor, "*setting draw"]) -> Float[Tensor, "*setting"]:
    """p value of a permutation test: how probable a mean effect as large as the real one is among random draws.

    (1 + draws as large in size) / (1 + draws), after Phipson & Smyth 2010, "Permutation P-values Should Never Be Zero".
    NaN where there are no draws, or no effect was measured (NaN).
    """
    return share_as_high(real.abs(), draws.abs()).where(~real.isnan(), math.nan)


def share_as_high(real: Float[Tensor, "*setting"], draws: Float[Tensor, "*setting draw"]) -> Float[Tensor, "*setting"]:
    """The same to one side, where only high numbers mean something: draws at least as high count. NaN without draws."""
    if not draws.shape[-1]:
        return torch.full_like(real, math.nan)
    return (1 + (draws >= real[..., None]).sum(-1).to(real)) / (1 + draws.shape[-1])


def control_seed(layer: int, draw: int, seed: int) -> int:
    """Seed of a random control: of a layer alone, whatever other layers are asked for."""
    return 1 + draw + 1000 * (layer + 1000 * seed)


def stacked(found: Sequence[Mapping[str, Tensor]], name: str) -> Tensor:
    """One quantity of several trials."""
    return torch.stack([one[name] for one in found])


def _kl(before: Float[Tensor, "place vocab"], logits: Float[Tensor, "place vocab"]) -> Float[Tensor, " place"]:
    after = logits.float().log_softmax(-1)
    return (before.exp() * (before - after)).sum(-1).clamp_min(0).cpu()


def effect_words(trials: Trials) -> tuple[str, str]:
    """How captions speak of the effect, and over what."""
    n = len(trials.labels)
    if trials.margin is None:
        return "KL divergence of the next-token prediction from the unchanged one", f"mean over {n} held-out examples"
    unchanged = f"the unchanged margin is {float(trials.margin.mean()):.2g}"
    return (
        "Fall of the margin between the answers of the right class and the others",
        f"mean over {n} held-out examples; {unchanged}",
    )
