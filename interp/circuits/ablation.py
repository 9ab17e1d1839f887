"""What stands in for the writers whose edges a circuit lacks, and the words that say so beside every number.

    zero             nothing (a head's bias and the stream's other constants stay)
    mean             the mean over the task's corrupt prompts, per position (or per group and position)
    resample         what the writer wrote on another pair's corrupt prompt, the same one for all writers
    counterfactual   what the writer wrote on the pair's own corrupt prompt

Which prompts stand in and what a mean is, is decided by `interp.hooks.references`, as for `interp.ablate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import InputError, unknown
from interp.hooks.capturing import Activations, AnySite
from interp.hooks.references import Here, mean_of, resample_of
from interp.hooks.sites import Site
from interp.tasks import PromptPairs

VALUES = ("zero", "mean", "resample", "counterfactual")
DIRECTIONS = ("noise", "denoise")


@dataclass(frozen=True)
class AblationTuple:
    """What a number about a circuit depends on besides the circuit (Miller et al. 2024, "Transformer Circuit
    Faithfulness Metrics are not Robust", section 3); it is kept with the number and printed beside it."""

    granularity: str
    """edges | nodes"""
    component: str
    """What the edges lead between."""
    value: str
    """zero | mean per position (or group) | resample | counterfactual"""
    positions: str
    """all | the roles of a graph over token positions"""
    direction: str
    """noise: the clean run with the edges outside the circuit ablated; denoise: the corrupt run with those inside
    clean."""
    data: str
    """The prompts."""

    def describe(self) -> dict[str, str]:
        """As plain JSON."""
        return asdict(self)

    def __str__(self) -> str:
        where = "all positions" if self.positions == "all" else f"positions {self.positions}"
        return f"{self.granularity} of {self.component}, {self.value}, {where}, {self.direction}, {self.data}"


def data_name(task: PromptPairs) -> str:
    """The prompts in a few words."""
    about = [f"n={len(task)}"]
    if task.settings.get("corruption"):
        about.append(f"corruption {task.settings['corruption']}")
    if task.seed is not None:
        about.append(f"seed {task.seed}")
    return f"{task.name} ({', '.join(about)})"


def check_ablation(task: PromptPairs, reference: PromptPairs, value: str, direction: str, mean_over: str) -> None:
    """Refuse values and directions that do not exist, or that the prompts do not allow."""
    if value not in VALUES:
        raise unknown("ablation value", value, VALUES)
    if direction not in DIRECTIONS:
        raise unknown("direction", direction, DIRECTIONS)
    if direction == "denoise" and value != "counterfactual":
        raise InputError(f"denoising puts clean activations into the corrupt run; {value!r} goes with 'noise' only")
    if value == "mean" and mean_over not in ("position", "group"):
        raise InputError(f"means of edges are taken per 'position' or per 'group' and position, not {mean_over!r}")
    if value == "counterfactual" and not task.aligned:
        row = int((task.lengths != task.corrupt_lengths).nonzero()[0])
        raise InputError(
            f"the clean and corrupt prompts of pair {row} differ in length, so position i of one does not face "
            "position i of the other; use a corruption that keeps the length, or value='zero'"
        )
    if value == "counterfactual" and reference is not task:
        raise InputError("counterfactual values come from each pair's own corrupt prompt; leave reference out")
    if value == "resample" and len(reference) < 2:
        raise InputError("resampling needs another prompt to take values from; draw at least two pairs")


def resampled_rows(task: PromptPairs, reference: PromptPairs, seed: int) -> Int[Tensor, " example"]:
    """Which corrupt prompt of the reference stands in for each pair, as `interp.ablate(value="resample")` draws it."""
    n_pos = task.clean.shape[1]
    site = Site("mlp_out", 0)
    # Every row of this "activation" holds its own number, so what is drawn tells who was drawn.
    numbers = torch.arange(len(reference), dtype=torch.float32)[:, None, None].expand(-1, n_pos, 1)
    drawn = resample_of(Activations({site: numbers}, reference.corrupt, None), site, seed)
    return drawn(torch.zeros(len(task), n_pos, 1), _everywhere(task))[:, 0, 0].long()


def mean_values(
    task: PromptPairs, reference: Mapping[AnySite, Tensor], prompts: Tensor, over: str
) -> dict[AnySite, Tensor]:
    """The means of captured activations for every pair of the task, [pair, pos, ...]; see `interp.ablate`."""
    found = {}
    n_pos = task.clean.shape[1]
    for site, value in reference.items():
        mean = mean_of(Activations({site: value}, prompts, None), site, "position" if over == "position" else "group")
        shape = torch.empty(1, dtype=value.dtype, device=value.device).expand(len(task), n_pos, *value.shape[2:])
        found[site] = mean(shape, _everywhere(task))
    return found


def _everywhere(task: PromptPairs) -> Here:
    return Here(offset=0, prompts=task.clean, base_batch=len(task))


def roles_text(positions: Sequence[str] | None) -> str:
    """The positions of a graph, for an `AblationTuple`."""
    return "all" if positions is None else ", ".join(positions)


def ablation_tuple(graph: Any, task: PromptPairs, value: str, direction: str, granularity: str) -> AblationTuple:
    """The tuple of runs over a graph."""
    parts = "heads (q, k, v) and MLPs" if graph.has_mlp else "heads (q, k, v)"
    return AblationTuple(granularity, parts, value, roles_text(graph.positions), direction, data_name(task))
