"""`notebook_page`: a notebook, run or as it is stored, as one HTML page that makes no request.

nbconvert's own pages load scripts from elsewhere and leave out plotly's figures. Here those scripts are not asked for,
every figure is drawn, the libraries are on the page once, and the browser refuses whatever else would be loaded.
Needs the extra `notebooks`: pip install "interp-workbench[notebooks]".
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interp.errors import InputError, nearest
from interp.viz import pages
from interp.viz.libraries import LIBRARIES
from interp.viz.notebook_setup import MARK, PLOTLY_MIME, figure_html, libraries_html

# nbconvert's blocks that name addresses of script servers are left empty.
_TEMPLATE = """{%% extends "lab/index.html.j2" %%}
{%% block html_head_js_requirejs %%}<meta http-equiv="Content-Security-Policy" content="%s">{%% endblock %%}
{%% block html_head_js_mathjax %%}{%% endblock %%}
{%% block html_head_js_mermaidjs %%}{%% endblock %%}
{%% block jupyter_widgets %%}{%% endblock %%}
{%% block html_head_css %%}<style>
main { max-width: 1000px; margin: 0 auto; } .jp-InputPrompt, .jp-OutputPrompt { display: none; }
</style>{%% endblock %%}
"""


def notebook_page(
    notebook: str | Path,
    out: str | Path | None = None,
    *,
    execute: bool = False,
    parameters: Mapping[str, Any] | None = None,
    timeout: float | int | None = None,
) -> Path:
    """Write a notebook as an HTML page that works without a network; returns the path of the page.

    out: where to (default: beside the notebook). execute: run it first, in its own directory, and leave the notebook
    itself as it is. parameters: numbers, texts, ... that replace those of the cell tagged "parameters"; asks for
    execute. timeout: seconds for one cell. Raises InputError for a notebook or parameters that do not exist, and, with
    the cell and its traceback, when a cell fails.
    """
    try:
        import nbclient  # noqa: F401
        import nbconvert  # noqa: F401
        import nbformat
    except ImportError as error:
        raise InputError(f"{error}: run `pip install 'interp-workbench[notebooks]'` to work with notebooks") from error
    from interp.runs.paths import atomic_write

    path = Path(notebook).expanduser()
    if not path.is_file():
        raise InputError(f"there is no notebook {path}")
    book = nbformat.read(path, as_version=4)
    if parameters and not execute:
        raise InputError("parameters change what the cells compute: give execute=True as well")
    if execute:
        _set_parameters(book, parameters or {})
        _run(book, path.parent, timeout)
    # A token may hold half of a surrogate pair, which no file can.
    return atomic_write(out or path.with_suffix(".html"), _page(book, path).encode("utf-8", errors="replace"))


def _set_parameters(book: Any, parameters: Mapping[str, Any]) -> None:
    """Put a cell with the new values behind the one tagged "parameters"."""
    import nbformat

    if not parameters:
        return
    tagged = [i for i, cell in enumerate(book.cells) if "parameters" in cell.metadata.get("tags", ())]
    if not tagged:
        raise InputError('this notebook takes no parameters: none of its cells has the tag "parameters"')
    known = _assigned(book.cells[tagged[0]].source)
    for name in parameters:
        if name not in known:
            raise InputError(f"this notebook has no parameter {name!r}{nearest(name, known)}")
    lines = [f"{name} = {value!r}" for name, value in parameters.items()]
    book.cells.insert(tagged[0] + 1, nbformat.v4.new_code_cell("\n".join(lines)))


def _run(book: Any, directory: Path, timeout: float | int | None) -> None:
    import zmq
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    from nbconvert.filters import strip_ansi
    from traitlets.config import Config

    # What the kernel says passes through local ports that others on a shared machine can read.
    encryption = "auto" if zmq.has("curve") else "disabled"
    config = Config(KernelManager={"transport_encryption": encryption})
    client = NotebookClient(book, timeout=timeout, config=config, resources={"metadata": {"path": str(directory)}})
    try:
        client.execute()
    except CellExecutionError as error:
        raise InputError(f"a cell of the notebook failed.\n{strip_ansi(str(error))}") from error


def _assigned(source: str) -> list[str]:
    """The names that a cell assigns."""
    targets = [target for node in ast.parse(source).body if isinstance(node, ast.Assign) for target in node.targets]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _page(book: Any, path: Path) -> str:
    from nbconvert import HTMLExporter

    _make_figures_html(book)
    heading = next((cell.source for cell in book.cells if cell.source.startswith("# ")), f"# {path.stem}")
    book.metadata["title"] = heading.splitlines()[0].removeprefix("# ")
    exporter = HTMLExporter(raw_template=_TEMPLATE % pages.POLICY, embed_images=True)
    body, _ = exporter.from_notebook_node(book, resources={"metadata": {"path": str(path.parent)}})
    # Only now, so that nbconvert need not carry the libraries through its filters.
    return body.replace("<main>", f"<main>{libraries_html(LIBRARIES)}", 1)


def _make_figures_html(book: Any) -> None:
    """Give figures of plotly alone their HTML, and drop outputs that hold the libraries: the page gets its own."""
    for cell in book.cells:
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if MARK not in _html_of(output)]
        for output in cell.outputs:
            data = output.get("data", {})
            if PLOTLY_MIME in data and "text/html" not in data:
                data["text/html"] = figure_html(data[PLOTLY_MIME])


def _html_of(output: Any) -> str:
    text = output.get("data", {}).get("text/html", "")
    return text if isinstance(text, str) else "".join(text)
