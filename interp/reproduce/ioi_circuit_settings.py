"""What decides the numbers of the sections on the IOI circuit, and the prompts that they are measured on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from interp import tasks
from interp.circuits import GroupMeans, group_means
from interp.tasks import PromptPairs


@dataclass(frozen=True)
class CircuitSettings:
    """What decides the numbers of these sections.

    n: new prompts for faithfulness. per_group: prompts of the reference set for each template and order. n_random:
    random circuits, run on n_random_prompts. n_cut: prompts for knock-outs from the model, and n_random_cut: draws of
    random heads there. n_measured: prompts for completeness and minimality. n_sets: random sets K; n_steps and
    n_candidates: of the greedy search for the worst K, on the prompts of the maps.
    """

    n: int = 120
    per_group: int = 25
    n_random: int = 20
    n_random_prompts: int = 60
    n_cut: int = 30
    n_random_cut: int = 5
    n_measured: int = 30
    n_sets: int = 10
    n_steps: int = 10
    n_candidates: int = 5

    @classmethod
    def quick(cls) -> CircuitSettings:
        """The same questions in a quarter of the time: fewer prompts and draws, a rougher reference."""
        return cls(
            n=30, per_group=5, n_random=5, n_random_prompts=30, n_cut=12, n_random_cut=2, n_measured=12, n_sets=4,
            n_steps=4, n_candidates=4,
        )  # fmt: skip

    @classmethod
    def of(cls, settings: Any) -> CircuitSettings:
        """As they are, or fitting the experiment's: the quick ones where it asks for fewer than 60 prompts."""
        if isinstance(settings, cls):
            return settings
        return replace(cls.quick() if settings.n < 60 else cls(), n=settings.n)


@dataclass(frozen=True)
class CircuitPrompts:
    """The prompts of these sections.

    new: what is measured on, drawn with another seed than the prompts that the heads were found on. search: for
    searching for sets of heads. means: of the reference set, a third draw, computed when first asked for.
    """

    new: PromptPairs
    search: PromptPairs
    means: Callable[[], GroupMeans]
    settings: CircuitSettings

    @classmethod
    def draw(cls, model: Any, task: PromptPairs, search: PromptPairs, settings: CircuitSettings) -> CircuitPrompts:
        """task: tells templates, orders, BOS, and the seed not to use again."""
        seed = 0 if task.seed is None else task.seed
        how: dict[str, Any] = {name: task.settings[name] for name in ("order", "templates") if name in task.settings}
        how["prepend_bos"] = task.prepend_bos
        new = tasks.ioi(model, n=settings.n, seed=seed + 1, **how)

        @functools.cache
        def means() -> GroupMeans:
            # Only the groups that are run; pairs are spread evenly over templates and orders.
            used = sorted({int(group.rsplit("-", 1)[1]) for group in (*new.groups, *search.groups)})
            n_orders = len({group.rsplit("-", 1)[0] for group in new.groups})
            n = settings.per_group * len(used) * n_orders
            reference = tasks.ioi(model, n=n, seed=seed + 2, corruption="abc", **how | {"templates": used})
            source = {"task": "ioi", "side": "corrupt", "corruption": "abc", "seed": seed + 2}
            return group_means(model, reference.corrupt, source=source)

        return cls(new, search, means, settings)
