"""How much worse a circuit does than the whole model, the one number that searches by removal compare."""

from __future__ import annotations

from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from interp.circuits.graph import Graph
from interp.circuits.masks import MaskRunner
from interp.circuits.task_checks import check_numbers
from interp.errors import unknown
from interp.tasks import PromptPairs

KINDS = ("absolute", "signed", "kl")


class Damage:
    """The damage of circuits, a mean over prompts.

    kind:
        absolute    |m(whole model) - m(circuit)|
        signed      m(whole model) - m(circuit), turned so that losing the answer is positive; what helps the answer
                    beyond the model counts as no damage, and edges that suppress it are removed
        kl          KL(whole model || circuit) of the next-token distributions, in nats, whatever the task's metric
    value: what ablated edges carry, as for a `MaskRunner`.
    """

    def __init__(
        self,
        model: Any,
        task: PromptPairs,
        graph: Graph,
        kind: str = "absolute",
        *,
        value: str = "counterfactual",
        batch_size: int | None,
        memory_budget: int,
    ) -> None:
        if kind not in KINDS:
            raise unknown("kind of damage", kind, KINDS)
        self.kind = kind
        scored = task.with_metric("kl_to_clean", model=model) if kind == "kl" else task
        self.metric = scored.metric
        self.runner = MaskRunner(model, scored, graph, value=value, batch_size=batch_size, memory_budget=memory_budget)
        self.whole = self.runner.untouched()
        check_numbers(self.whole, f"{self.metric.name} of the clean run")

    @property
    def unit(self) -> str:
        """What it is measured in."""
        return self.metric.unit

    def __call__(self, masks: Bool[Tensor, "circuit writers readers"]) -> Float[Tensor, " circuit"]:
        """The damage of every circuit. Raises InputError when the metric of one is not a number."""
        found = self.runner.metric(masks)
        check_numbers(found.sum(0), f"{self.metric.name} of a circuit")
        if self.kind == "kl":
            return found.double().mean(1).cpu()
        lost = (self.whole - found).double()
        lost = lost if self.metric.higher_is_clean else -lost
        return (lost.abs() if self.kind == "absolute" else lost).mean(1).cpu()
