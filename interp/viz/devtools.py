"""A minimal client of the Chrome DevTools Protocol over a pair of pipes: no port, no dependency, no network.

https://chromedevtools.github.io/devtools-protocol/ ; messages are JSON with a zero byte after each.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from interp.errors import InputError

Message = dict[str, Any]

_NO_NAMES = "--host-resolver-rules=MAP * ~NOTFOUND"  # no name resolves: the page has no network
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--mute-audio",
    "--no-first-run",
    "--no-default-browser-check",
    "--proxy-server=127.0.0.1:9",  # nor does an address without a name
    # A headless browser has no mouse, and plotly then shows its tool bars all the time: say there is one.
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",
    "--remote-debugging-pipe",
)

# The browser reads file descriptor 3 and writes 4: a small Python puts our pipes there and becomes the browser.
_BRIDGE = "import os,sys; r,w=map(int,sys.argv[1:3]); os.dup2(r,3); os.dup2(w,4); os.execv(sys.argv[3],sys.argv[3:])"


class Session:
    """A tab: `call` sends a command and returns its answer; events that arrive meanwhile gather in `events`."""

    def __init__(self, reading: int, writing: int, deadline: float) -> None:
        self._reading, self._writing, self._deadline = reading, writing, deadline
        self._buffer = b""
        self._last = 0
        self._session: str | None = None
        self.events: list[Message] = []

    def attach(self) -> None:
        """Open a tab and talk to it from now on."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method: str, **params: Any) -> Message:
        """Send one command and wait for its answer. Raises RuntimeError when the browser refuses it."""
        if time.monotonic() > self._deadline:
            raise TimeoutError(f"there was no time left for {method}")
        self._last += 1
        message: Message = {"id": self._last, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(self._deadline)
            if answer is None:
                raise TimeoutError(f"the browser did not answer {method} in time")
            if answer.get("id") == message["id"]:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error'].get('message')}")
                return answer["result"]
            self.events.append(answer)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; a promise is awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def listen(self, seconds: float) -> None:
        """Gather events for a while."""
        until = min(time.monotonic() + seconds, self._deadline)
        while (message := self._next(until)) is not None:
            self.events.append(message)

    def wait_for(self, method: str) -> None:
        """Gather events until one of that name has arrived."""
        while not any(event.get("method") == method for event in self.events):
            message = self._next(self._deadline)
            if message is None:
                raise TimeoutError(f"the browser never sent {method}")
            self.events.append(message)

    def _next(self, until: float) -> Message | None:
        """The next message, or None when none came before `until`."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._reading, selectors.EVENT_READ)
            while b"\0" not in self._buffer:
                if not selector.select(max(0.0, until - time.monotonic())):
                    return None
                chunk = os.read(self._reading, 1 << 20)
                if not chunk:
                    raise RuntimeError("the browser closed the connection")
                self._buffer += chunk
        text, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(text)


@contextmanager
def browse(browser: str, timeout: float | int, *, loopback: bool = False) -> Iterator[Session]:
    """A headless browser without a network and with a fresh profile, ended and cleaned away at the end.

    loopback: let it reach servers at 127.0.0.1, and nothing else.
    """
    profile = tempfile.mkdtemp(prefix="interp-browser-")
    to_browser, our_writing = os.pipe()
    our_reading, from_browser = os.pipe()
    # High numbers, so that putting one pipe at 3 or 4 cannot overwrite the other.
    child_ends = [_high_copy(to_browser), _high_copy(from_browser)]
    network = f"{_NO_NAMES}, EXCLUDE 127.0.0.1" if loopback else _NO_NAMES
    flags = (*_FLAGS, network, f"--user-data-dir={profile}")
    command = [sys.executable, "-c", _BRIDGE, *map(str, child_ends), browser, *flags]
    process = subprocess.Popen(
        command, pass_fds=child_ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    for end in (*child_ends, to_browser, from_browser):
        os.close(end)
    try:
        session = Session(our_reading, our_writing, time.monotonic() + timeout)
        session.attach()
        yield session
    finally:
        os.close(our_writing)  # the browser leaves when its pipe closes
        os.close(our_reading)
        _end(process)
        shutil.rmtree(profile, ignore_errors=True)


def _high_copy(descriptor: int) -> int:
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, 20)


def _end(process: subprocess.Popen[bytes]) -> None:
    import signal

    try:
        process.wait(timeout=3)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # a group of its own: only what we started
        process.wait()


def find(names: tuple[str, ...]) -> str:
    """The path of the first of these programs. Raises InputError when none is installed."""
    for name in names:
        path = shutil.which(name)
        if path is not None:
            return path
    raise InputError(f"no browser was found; install one of {', '.join(names)} to take screenshots")
