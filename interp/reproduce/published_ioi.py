"""The heads that Wang et al. 2022 found in GPT-2 small (figure 2), and how many of them were found here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, ClassVar

import pandas as pd
import torch

from interp.hooks.head_names import Head, head_name
from interp.models import identity
from interp.results import Axis, Plot, Result, Values
from interp.runs import provenance

PUBLISHED: Mapping[str, tuple[Head, ...]] = {
    "previous token": ((2, 2), (4, 11)),
    "duplicate token": ((0, 1), (0, 10), (3, 0)),
    "induction": ((5, 5), (5, 8), (5, 9), (6, 9)),
    "S-inhibition": ((7, 3), (7, 9), (8, 6), (8, 10)),
    "name mover": ((9, 9), (10, 0), (9, 6)),
    "backup name mover": ((10, 10), (10, 6), (10, 2), (10, 1), (11, 2), (9, 7), (9, 0), (11, 9)),
    "negative name mover": ((10, 7), (11, 10)),
}
"""The 26 heads by class, as in the code published with the paper."""
ANY = "any class"
_GPT2_SMALL = {"n_layers": 12, "n_heads": 12, "d_model": 768, "d_vocab": 50257}


def is_gpt2_small(model: Any) -> bool:
    """Whether this is GPT-2 small: called gpt2 (on the hub, or a directory of that name), and of its size."""
    named = PurePosixPath(str(identity(model)["id"])).name == "gpt2"
    return named and all(getattr(model.cfg, name, None) == size for name, size in _GPT2_SMALL.items())


def published_nodes(model: Any = None) -> tuple[str, ...]:
    """The 26 heads as nodes of a graph ("a9.9"); with a model: none unless it is GPT-2 small."""
    if model is not None and not is_gpt2_small(model):
        return ()
    return tuple(f"a{head_name(head)}" for head in _union(PUBLISHED.values()))


def heads_by_class(nodes: Sequence[str]) -> pd.DataFrame:
    """Which of the published heads are among the nodes of a circuit: class, published, there, missing, share."""
    rows = []
    for name, heads in PUBLISHED.items():
        names = [head_name(head) for head in heads]
        there = [head for head in names if f"a{head}" in nodes]
        missing = ", ".join(head for head in names if head not in there)
        rows.append({
            "class": name,
            "published": len(names),
            "in the circuit": ", ".join(there) or "none",
            "missing": missing or "none",
            "share": len(there) / len(names),
        })  # fmt: skip
    return pd.DataFrame(rows)


class PublishedComparison(Result):
    """score [class, measure]: precision (share of the heads found that are published) and recall (share of the
    published that were found); NaN precision where none was found. count [class, measure]: found, published, both.
    The last class is that of all heads, whatever class they were given.
    """

    kind: ClassVar[str] = "published_comparison"

    def table(self) -> pd.DataFrame:
        """A row a class: the heads found and published by name, and the two scores."""
        rows = []
        for name in self.values["score"].axis("class").labels:
            precision, recall = self.values["score"].sel(**{"class": name}).data.tolist()
            found, published = (self.settings[side][str(name)] for side in ("found", "published"))
            rows.append(
                {
                    "class": name,
                    "found here": ", ".join(found) or "none",
                    "published": ", ".join(published),
                    "missed": ", ".join(head for head in published if head not in found) or "none",
                    "precision": precision,
                    "recall": recall,
                }
            )
        table = pd.DataFrame(rows)
        table.loc[table["class"] == ANY, ["found here", "published", "missed"]] = [self._counts()]
        return table

    def told(self) -> str:
        """How many of the published heads were found, whatever class they were given, as a sentence."""
        found, published, both = (int(x) for x in self.values["count"].sel(**{"class": ANY}).data)
        by_class = self.values["count"].sel(measure="both")
        named = [f"{name} {int(by_class.sel(**{'class': name}).data)}" for name in PUBLISHED]
        precision = f"; {both} of the {found} heads found are published" if found else ""
        return (
            f"Found are {both} of the {published} published heads{precision}. In their own class: {', '.join(named)}."
        )

    def _counts(self) -> list[str]:
        found, published, both = (int(x) for x in self.values["count"].sel(**{"class": ANY}).data)
        return [f"{found} heads", f"{published} heads", f"{published - both} heads"]


def compare_with_published(found: Mapping[str, Sequence[Head]], model: Any) -> PublishedComparison:
    """Precision and recall of the heads found in GPT-2 small against the paper's, by class and of all heads."""
    started = datetime.now()
    classes = {name: (tuple(found.get(name, ())), heads) for name, heads in PUBLISHED.items()}
    classes[ANY] = (_union(side for side, _ in classes.values()), _union(PUBLISHED.values()))
    counts = [[len(set(a)), len(set(b)), len(set(a) & set(b))] for a, b in classes.values()]
    count = torch.tensor(counts, dtype=torch.float32)
    axis = Axis("class", tuple(classes))
    score = torch.stack([count[:, 2] / count[:, 0], count[:, 2] / count[:, 1]], dim=1)
    return PublishedComparison(
        values={
            "score": Values(score, (axis, Axis("measure", ("precision", "recall")))),
            "count": Values(count, (axis, Axis("measure", ("found", "published", "both"))), "heads"),
        },
        settings={
            side: {name: [head_name(head) for head in pair[i]] for name, pair in classes.items()}
            for i, side in enumerate(("found", "published"))
        },
        provenance=provenance(model=identity(model), started=started),
        plots=(
            Plot(
                "bars",
                "score",
                x="class",
                series="measure",
                title="Heads found beside those published",
                caption="Precision and recall of the heads found here against the 26 heads of Wang et al. 2022.",
                caveat="The paper named its heads by eye and from other prompts; a head that differs may be one "
                "that it left out, and classes hold 2 to 8 heads, so one head moves a score far.",
                options={"y_label": "share of heads"},
            ),
        ),
    )


def _union(groups: Iterable[Iterable[Head]]) -> tuple[Head, ...]:
    return tuple(sorted({head for group in groups for head in group}))
