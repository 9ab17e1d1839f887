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
LEAST_SEEN = 0.1
"""Share of the held-out examples whose word type training must have seen for there to be anything to remember."""


def control_labels(
    labels: Int[Tensor, " example"], types: Sequence[str], folds: Int[Tensor, " example"], seed: int
) -> tuple[Int[Tensor, " example"], str]:
    """A random class for every word type, drawn in proportion to the classes of the task, and "".

    Where a control task would mean nothing (too few types; types that never stand in training and test at once, as when
    examples are split by word), the task's own labels and the reason.
    """
    known = list(dict.fromkeys(types))
    share = Counter(types).most_common(1)[0][1] / len(types)
    n_classes = int(labels.max()) + 1
    if len(known) < TYPES_A_CLASS * n_classes:
        return labels, f"no control task: {len(known)} word types are too few for {n_classes} classes"
    if share > LARGEST_TYPE:
        return labels, f"no control task: one word type has {share:.0%} of the examples"
    seen = share_seen(types, folds)
    if seen < LEAST_SEEN:
        return labels, f"no control task: training saw the word types of {seen:.0%} of the held-out examples"
    generator = torch.Generator().manual_seed(seed)
    drawn = labels[torch.randint(len(labels), (len(known),), generator=generator)]
    index = {word: i for i, word in enumerate(known)}
    return drawn[torch.tensor([index[word] for word in types])], ""


def share_seen(types: Sequence[str], folds: Int[Tensor, " example"]) -> float:
    """Share of the examples whose word type also occurs in another fold, so that training knew it."""
    places = set(zip(types, folds.tolist()))
    spread = Counter(word for word, _ in places)
    return sum(spread[word] > 1 for word in types) / len(types)


def shuffled_labels(labels: Int[Tensor, " example"], n: int, seed: int) -> Int[Tensor, "shuffle example"]:
    """The labels in `n` random orders."""
    generator = torch.Generator().manual_seed(seed + 1)
    orders = [torch.randperm(len(labels), generator=generator) for _ in range(n)]
    return torch.stack([labels[order] for order in orders]) if n else labels[None][:0]
