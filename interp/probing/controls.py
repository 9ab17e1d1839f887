"""Labels that mean nothing, for probes that could learn anything.

Control tasks (Hewitt & Liang 2019, "Designing and Interpreting Probes with Control Tasks"): every word type gets one
class at random, drawn from the task's own distribution. A probe that does well on it remembers words; selectivity is
the accuracy on the task less that on the control task. Shuffled labels have no regularity at all: what is reached on
them is chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

LARGEST_TYPE = 0.5
"""Share of the examples that one word type may have; beyond, its random class decides the control task."""
TYPES_A_CLASS = 2
"""Word types a class that a control task needs."""


def control_labels(
    labels: Int[Tensor, " example"], types: Sequence[str], seed: int
) -> tuple[Int[Tensor, " example"], str]:
    """A random class for every word type, drawn in proportion to the classes of the task, and "".

    Where there are too few types for a control task to mean anything, the task's own labels and the reason.
    """
    known = list(dict.fromkeys(types))
    share = Counter(types).most_common(1)[0][1] / len(types)
    n_classes = int(labels.max()) + 1
    if len(known) < TYPES_A_CLASS * n_classes:
        return labels, f"no control task: {len(known)} word types are too few for {n_classes} classes"
    if share > LARGEST_TYPE:
        return labels, f"no control task: one word type has {share:.0%} of the examples"
    generator = torch.Generator().manual_seed(seed)
    drawn = labels[torch.randint(len(labels), (len(known),), generator=generator)]
    index = {word: i for i, word in enumerate(known)}
    return drawn[torch.tensor([index[word] for word in types])], ""


def shuffled_labels(labels: Int[Tensor, " example"], n: int, seed: int) -> Int[Tensor, "shuffle example"]:
    """The labels in `n` random orders."""
    generator = torch.Generator().manual_seed(seed + 1)
    orders = [torch.randperm(len(labels), generator=generator) for _ in range(n)]
    return torch.stack([labels[order] for order in orders]) if n else labels[None][:0]
