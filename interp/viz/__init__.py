"""Draws what results describe: plotly figures, CircuitsVis views, and one self-contained HTML report.

>>> interp.viz.figure(result, result.plots[0])          # a plotly figure
>>> interp.viz.view(result, result.plots[1]).save("attention.html")
>>> interp.viz.Report("Induction heads").add(result).write("report.html")

Nothing here loads anything from the network, and plotly is imported only when something is drawn.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "figure": "figures",
    "view": "result_views",
    "View": "views",
    "figure_view": "views",
    "attention_heads": "circuitsvis_views",
    "attention_pattern": "circuitsvis_views",
    "colored_tokens": "circuitsvis_views",
    "colored_tokens_multi": "circuitsvis_views",
    "text_neuron_activations": "circuitsvis_views",
    "topk_tokens": "circuitsvis_views",
    "query_key": "query_key_view",
    "Report": "report",
    "notebook_page": "notebook_pages",
    "setup_notebook": "notebook_setup",
    "check_page": "browser",
    "find_browser": "browser",
    "screenshot": "browser",
}
__all__ = [
    "Report",
    "View",
    "attention_heads",
    "attention_pattern",
    "check_page",
    "colored_tokens",
    "colored_tokens_multi",
    "figure",
    "figure_view",
    "find_browser",
    "notebook_page",
    "query_key",
    "screenshot",
    "setup_notebook",
    "text_neuron_activations",
    "topk_tokens",
    "view",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"interp.viz.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'interp.viz' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
