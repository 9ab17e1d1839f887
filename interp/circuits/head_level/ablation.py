"""The ablation that a score belongs to, said with every number: without it the number means nothing.

Miller et al. 2024 ("Transformer Circuit Faithfulness Metrics Are Not Robust") score one and the same IOI circuit from
below 0 to above 100 % by changing what is ablated, to what, at which positions, and in which direction.
"""

from __future__ import annotations

from typing import Any

from interp.circuits.head_level.reference_means import GroupMeans
from interp.tasks import PromptPairs

CAVEAT = (
    "The score belongs to this ablation: with another granularity, value, reference set or order of averaging one and "
    "the same circuit scores differently (Miller et al. 2024), and other circuits may score as well."
)


def ablation(task: PromptPairs, means: GroupMeans) -> dict[str, Any]:
    """Granularity, component, value, positions, direction and data, JSON-able."""
    return {
        "granularity": "attention head at a token position",
        "component": "z; MLPs, norms and embeddings are kept",
        "value": "mean per group and position",
        "reference": means.describe(),
        "positions": "every token that is not claimed, named or not",
        "direction": "clean prompts are run, what is knocked out is replaced",
        "data": f"{task.name}, {len(task)} prompts, seed {task.seed}",
        "score": task.metric.name,
    }


def in_words(task: PromptPairs, means: GroupMeans) -> str:
    """The same as a sentence, for captions."""
    source = means.describe()
    return (
        "Knocked out: the output of a head at a token, set to its mean per group and position over "
        f"{source['prompts']} other prompts (at least {source['smallest_group']} a group); MLPs kept; {len(task)} "
        f"clean prompts of {task.name}."
    )
