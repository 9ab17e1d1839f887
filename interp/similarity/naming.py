"""Sites in words, with the model they are of where two are compared: notes on "layer 3" would leave open whose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Label = str | int


@dataclass(frozen=True)
class SiteNames:
    """The labels of all sites that are compared, those of the second side last, and whose they are.

    owners: of either side, to be written behind a label ("" where labels say it by themselves).
    """

    labels: tuple[Label, ...]
    n_first: int
    owners: tuple[str, str] = ("", "")

    def sides(self, places: Sequence[int]) -> list[list[int]]:
        """Places of sites parted into those of the first side and those of the second; no empty part."""
        parts = [[i for i in places if i < self.n_first], [i for i in places if i >= self.n_first]]
        if not any(self.owners):  # nothing tells the sides apart, and nothing has to
            parts = [list(places)]
        return [part for part in parts if part]

    def listed(self, places: Sequence[int]) -> str:
        """Some sites in words, runs of layers together: "layers 3-7 and 9 of smollm2-135m, layer 4 of gpt2"."""
        return ", ".join(self._of_side(part) for part in self.sides(places))

    def _of_side(self, places: Sequence[int]) -> str:
        owner = self.owners[int(places[0] >= self.n_first)]
        words = listed([self.labels[i] for i in places])
        return f"{words} of {owner}" if owner else words


def site_names(
    labels: Sequence[Label], second_labels: Sequence[Label] = (), models: Sequence[Mapping[str, Any]] = ()
) -> SiteNames:
    """Names of the sites of one model, of two, or of arrays. models: their identities, none for arrays."""
    everything, owners = (*labels, *second_labels), ("", "")
    if len(models) == 2:
        ids = [str(model["id"]) for model in models]
        owners = (ids[0], ids[1]) if ids[0] != ids[1] else ("the first model", "the other model")
    elif set(labels) & set(second_labels):
        owners = ("the first side", "the second side")
    return SiteNames(everything, len(labels), owners)


def listed(labels: Sequence[Label]) -> str:
    """Labels in words, runs of layers together: "layers 3-7 and 9"."""
    if not all(isinstance(label, int) for label in labels):
        return ", ".join(str(label) for label in labels)
    runs: list[list[int]] = []
    for label in sorted(int(label) for label in labels):
        if runs and label == runs[-1][1] + 1:
            runs[-1][1] = label
        else:
            runs.append([label, label])
    words = [str(a) if a == b else f"{a}-{b}" for a, b in runs]
    joined = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    return f"layer{'s' * (len(labels) > 1)} {joined}"
