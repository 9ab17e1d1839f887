"""`setup_notebook`: one copy of the drawing libraries for a whole notebook, and figures that its HTML page can draw.

JupyterLab draws plotly's own mime type, which HTML pages made from the notebook cannot; and every view would bring its
own copy of CircuitsVis. After `setup_notebook()` each figure is stored as plotly's mime type and as a small piece of
HTML, each view as a small frame, and both take the libraries from the output of the cell that called it.
"""

from __future__ import annotations

import html
import uuid
import warnings
from collections.abc import Mapping
from typing import Any

from interp.viz import pages
from interp.viz.libraries import LIBRARIES

MARK = "data-interp-libraries"
"""What tells the output that holds the libraries from all others."""
RENDERER = "interp_page"
PLOTLY_MIME = "application/vnd.plotly.v1+json"

_shared = False


def shared() -> bool:
    """Whether this kernel's notebook was given the libraries, so that a view need not bring its own."""
    return _shared


def setup_notebook() -> None:
    """Put the drawing libraries into this cell's output, for all figures and views of the notebook.

    Call it in the first cell. Without it everything is drawn in JupyterLab all the same, but every view weighs half a
    megabyte more, and HTML that nbconvert makes of the notebook lacks its plotly figures. Does nothing outside of a
    notebook, nor where the user chose a plotly renderer or plotly chose another (as in Colab, whose outputs are kept
    apart from each other).
    """
    global _shared
    if not in_kernel():
        return
    import plotly.io
    from IPython.display import HTML, display

    if plotly.io.renderers.default not in ("plotly_mimetype", f"plotly_mimetype+{RENDERER}"):
        return
    plotly.io.renderers[RENDERER] = _renderer()
    plotly.io.renderers.default = f"plotly_mimetype+{RENDERER}"
    display(HTML(libraries_html(LIBRARIES)))
    _shared = True
    # tqdm, which transformers imports, asks for widgets that static pages could not show.
    warnings.filterwarnings("ignore", message="IProgress not found")


def in_kernel() -> bool:
    """Whether this is a notebook's kernel; IPython in a terminal cannot show HTML."""
    import sys

    # Nothing to ask when nobody imported IPython: importing it is slow.
    return "IPython" in sys.modules and hasattr(sys.modules["IPython"].get_ipython(), "kernel")


def libraries_html(names: tuple[str, ...]) -> str:
    """The libraries and the scripts that draw with them, as an output of a notebook."""
    scripts = (pages.packed_script(names), pages.asset("library.js"), pages.asset("page.js"))
    return f"<div {MARK}>{''.join(f'<script>{script}</script>' for script in scripts)}</div>"


def figure_html(figure: Mapping[str, Any]) -> str:
    """A plotly figure, as its mapping with "data" and "layout", as a piece of a page that holds the libraries."""
    import plotly.io

    layout = figure.get("layout", {})
    title = layout.get("title") or ""
    title = title if isinstance(title, str) else title.get("text") or ""
    text = plotly.io.to_json(dict(figure), validate=False).replace("<", "\\u003c")
    waiting = f"<small>{html.escape(title)} (drawn by the output of the cell with interp.viz.setup_notebook())</small>"
    name = f"figure-{uuid.uuid4().hex}"
    made = pages.fragment(name, "plotly", text, int(layout.get("height") or 450), waiting=waiting)
    return f"{made}<script>window.interpViews?.watch()</script>"


def _renderer() -> Any:
    from plotly.io import base_renderers

    class OnPage(base_renderers.MimetypeRenderer):
        """The text/html beside plotly's own mime type."""

        def to_mimebundle(self, fig_dict: dict[str, Any]) -> dict[str, str]:
            return {"text/html": figure_html(fig_dict)}

    return OnPage()
