"""Where a learnt subspace does more than the whole state: shown of the same pairs, or only seen.

The whole state holds every subspace, so what exchanging a part of it does beyond exchanging all of it goes by a path
that the model's own states do not take (Makelov et al. 2023, "Is This the Subspace You Are Looking for?"). On a few
dozen pairs a subspace is often ahead by chance. So the difference is taken pair by pair, with the interval that every
mean has here, and the learnt subspace must also do better than random ones.
"""

from __future__ import annotations

from collections.abc import Mapping

from interp.results import Values

BEYOND = "accuracy_beyond_whole"
"""Name of the paired difference [layer]: accuracy of the learnt subspace less that of the whole state."""
LEVEL = 0.05
FEWEST_DRAWS = 19
"""Random draws with which p can be as small as that."""
NOTED = 0.1
"""Difference from which on a reader would wonder, so that it is said where it is not shown."""


def illusion_notes(values: Mapping[str, Values]) -> list[str]:
    """Of every layer at which the learnt subspace is ahead of the whole state: that it is shown, or that it is not."""
    beyond, low, high = (values[BEYOND + end].data.tolist() for end in ("", "_low", "_high"))
    # The larger of the two controls' p values; 1 without draws.
    chance = values["p"].data.nan_to_num(1.0).amax(0).tolist()
    labels = values[BEYOND].axis("layer").labels
    shown, unsure = [], []
    for i, label in enumerate(labels):
        told = f"{beyond[i]:.2f}" + (f" [{low[i]:.2f}, {high[i]:.2f}]" if low[i] == low[i] else "")
        if low[i] > 0 and chance[i] <= LEVEL + 1e-6:  # NaN, of fewer than five groups, is not above 0
            shown.append(f"{label} (by {told})")
        elif beyond[i] > NOTED:
            unsure.append(f"{label} (difference {told}, p = {chance[i]:.2g} beside random subspaces)")
    notes = []
    if shown:
        notes.append(
            f"at layer {', '.join(shown)} the learnt subspace brings the other answer in a larger share of the same "
            "pairs than the whole state does, so it works by a path that the model's own states do not take (Makelov "
            'et al. 2023, "Is This the Subspace You Are Looking for?")'
        )
    if unsure:
        n_draws = values["random_accuracy"].data.shape[-1]
        few = f", and {n_draws} draws cannot give less than {1 / (1 + n_draws):.2g}" if n_draws < FEWEST_DRAWS else ""
        notes.append(
            f"at layer {', '.join(unsure)} the learnt subspace brings the other answer in more of the pairs than the "
            "whole state does, but it is not shown that they differ: that would take an interval of the difference "
            f"above 0 and p of at most {LEVEL:g}{few}"
        )
    return notes
