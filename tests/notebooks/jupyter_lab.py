"""A JupyterLab server of our own, and a headless browser that works in it as a person would."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from interp.viz import find_browser
from interp.viz.devtools import Session, browse

SECONDS = 180
PRESSES = 6  # of Shift and Enter in a cell, ten seconds apart, before it counts as broken
TOKEN = secrets.token_hex()


@contextlib.contextmanager
def opened(notebook: Path) -> Iterator[Session]:
    """A tab of JupyterLab with the notebook, its kernel ready."""
    with _server(notebook.parent) as port, browse(find_browser(), 2 * SECONDS, loopback=True) as session:
        for domain in ("Page", "Runtime", "Log", "Network"):
            session.call(f"{domain}.enable")
        session.call("Emulation.setDeviceMetricsOverride", width=1280, height=2000, deviceScaleFactor=1, mobile=False)
        session.call("Page.navigate", url=f"http://127.0.0.1:{port}/lab/tree/{notebook.name}?reset&token={TOKEN}")
        wait_until(session, "document.querySelector('.jp-Notebook .jp-Cell .cm-content')")
        wait_until(session, "document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=idle]')")
        wait_until(session, "!document.querySelector('.jp-NotebookPanel .jp-Spinner')")
        yield session


def run_all(session: Session, n_cells: int) -> None:
    """Run every cell as a person would: click into it, press Shift and Enter, and again when nothing came of it."""
    for cell in range(n_cells):
        node = f"document.querySelectorAll('.jp-Notebook .jp-Cell')[{cell}]"
        ran = f"!/^\\[ *\\]:?$/.test({node}.querySelector('.jp-InputPrompt').innerText)"
        # JupyterLab drops the key without a word while the connection to the kernel is still being made, and a busy
        # machine takes it late.
        for _ in range(PRESSES):
            _click(session, f"{node}.querySelector('.cm-line')")
            if _comes_true(session, f"{ran} || {node}.contains(document.activeElement)", 10):
                if not session.evaluate(ran):
                    _press_shift_enter(session)
                if _comes_true(session, ran, 10):
                    break
        else:
            raise TimeoutError(f"cell {cell} never ran\n{session.evaluate('document.body.innerText')}")


def _click(session: Session, node: str) -> None:
    session.evaluate(f"{node}.scrollIntoView({{block: 'nearest'}})")
    x, y = (session.evaluate(f"{node}.getBoundingClientRect().{side}") + 5 for side in ("x", "y"))
    for kind in ("mousePressed", "mouseReleased"):
        session.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def _press_shift_enter(session: Session) -> None:
    for kind in ("keyDown", "keyUp"):
        session.call(
            "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, modifiers=8
        )


def wait_until(session: Session, expression: str) -> None:
    """Listen until a JavaScript expression is true. Raises TimeoutError, with the page's text, when it never is."""
    if not _comes_true(session, expression, SECONDS):
        raise TimeoutError(f"never true: {expression}\n{session.evaluate('document.body.innerText')}")


def _comes_true(session: Session, expression: str, seconds: float) -> bool:
    for _ in range(int(5 * seconds)):
        if session.evaluate(f"Boolean({expression})"):
            return True
        session.listen(0.2)
    return False


@contextlib.contextmanager
def _server(directory: Path) -> Iterator[int]:
    """A server on a free local port that knows nobody's settings; it and its kernels end with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"JUPYTER_TOKEN": TOKEN} | {
        f"JUPYTER_{name}_DIR": str(directory / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")
    }
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    options += [f"--ServerApp.root_dir={directory}"]
    options += [f"--LabApp.workspaces_dir={directory}/workspaces", f"--LabApp.user_settings_dir={directory}/settings"]
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options],
        env=os.environ | own | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)  # the server ends its kernels
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # a group of its own: only what we started
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(10 * SECONDS):
        assert process.poll() is None, "the server has ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise TimeoutError("the server did not start")
