"""Small multiples: where each panel stands, and how much room they take together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.results import Plot


@dataclass(frozen=True)
class Panels:
    """Panels of one height, row by row.

    names: what stands above each, where there are several. across: how many in a row. height, gap: pixels of a panel,
    and between rows. beside: the share of the figure's width between the panels of a row.
    """

    names: Sequence[str]
    across: int
    height: float
    gap: float
    beside: float

    @property
    def down(self) -> int:
        """Rows of panels."""
        return math.ceil(len(self.names) / self.across)

    @property
    def drawn(self) -> float:
        """Pixels from the top of the first row to the bottom of the last."""
        return self.down * self.height + (self.down - 1) * self.gap

    def headroom(self, plot: Plot) -> int:
        """Pixels above the panels for the figure's title and the names of the first row."""
        return (28 if plot.title else 0) + (18 if len(self.names) > 1 else 0)

    def figure(self) -> Any:
        """A plotly figure with the empty panels."""
        from plotly.subplots import make_subplots

        figure = make_subplots(
            rows=self.down,
            cols=self.across,
            subplot_titles=self.names if len(self.names) > 1 else None,
            horizontal_spacing=self.beside if self.across > 1 else 0,
            vertical_spacing=self.gap / self.drawn if self.down > 1 else 0,
        )
        return figure.update_annotations(font_size=12.5)

    def where(self, panel: int) -> dict[str, int]:
        """The row and the column of a panel, as plotly wants them."""
        return {"row": panel // self.across + 1, "col": panel % self.across + 1}


def x_axis_of(panel: int) -> str:
    """What plotly calls the horizontal axis of a panel, for a vertical one to keep its scale."""
    return f"x{panel + 1}" if panel else "x"
