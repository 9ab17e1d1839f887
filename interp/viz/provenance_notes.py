"""Where a page's numbers come from: one line at the top, everything at the end."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from interp.results.plain import to_json

if TYPE_CHECKING:
    from interp.results import Provenance, Result


def source_line(results: Sequence[Result]) -> str:
    """Model, tasks, seeds, versions, code and date of the results, in one line of HTML."""
    sources = [result.provenance for result in results]
    if not sources:
        return ""
    parts = [
        *_distinct(str(source.model.get("id", "")) for source in sources),
        *_distinct(_task(source.task) for source in sources),
        *_distinct("" if source.seed is None else f"seed {source.seed}" for source in sources),
        *_distinct(_device(source) for source in sources),
        *_distinct(_versions(source.environment) for source in sources),
        *_distinct(_commit(source.environment) for source in sources),
        _dates(sources),
    ]
    spans = " ".join(f"<span>{html.escape(part)}</span>" for part in parts if part)
    return f'<p class="source">{spans}</p>'


def details(results: Sequence[Result]) -> str:
    """Settings and provenance of every result, folded away."""
    if not results:
        return "<p>This page holds no results, so it has no provenance.</p>"
    shared = _groups(results)
    parts = ["<p>Settings and provenance, enough to compute every number again.</p>"]
    for i, result in enumerate(results, start=1):
        titles = [plot.title for plot in result.plots if plot.title]
        name = f"Result {i}: {result.kind}" + (f" ({titles[0]})" if titles else "")
        text = to_json({"settings": dict(result.settings), "task": dict(result.provenance.task)}, indent=2)
        parts.append(_fold(name, text))
    for provenance, numbers in shared:
        which = "all results" if len(shared) == 1 else "results " + ", ".join(map(str, numbers))
        name = f"Model and environment of {which}"
        parts.append(_fold(name, to_json(provenance, indent=2)))
    return "".join(parts)


def _groups(results: Sequence[Result]) -> list[tuple[dict[str, Any], list[int]]]:
    """Model and environment, each different one once, with the numbers of its results."""
    groups: list[tuple[dict[str, Any], list[int]]] = []
    for i, result in enumerate(results, start=1):
        source = result.provenance
        facts = {"model": dict(source.model), "seed": source.seed, "environment": dict(source.environment)}
        known = next((numbers for other, numbers in groups if other == facts), None)
        if known is None:
            groups.append((facts, [i]))
        else:
            known.append(i)
    return groups


def _fold(name: str, text: str) -> str:
    return f"<details><summary>{html.escape(name)}</summary><pre>{html.escape(text)}</pre></details>"


def _distinct(parts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(part for part in parts if part))


def _task(task: Mapping[str, Any]) -> str:
    if not task.get("name"):
        return ""
    n = f", {task['n']} prompt pairs" if task.get("n") else ""
    return f"task {task['name']}{n}"


def _device(source: Provenance) -> str:
    dtype, device = source.model.get("dtype"), source.model.get("device")
    return f"{str(dtype).removeprefix('torch.')} on {device}" if dtype and device else ""


def _versions(environment: Mapping[str, Any]) -> str:
    packages = environment.get("packages") or {}
    shown = [f"{name} {packages[name]}" for name in ("torch", "transformer-lens") if packages.get(name)]
    return ", ".join(shown)


def _commit(environment: Mapping[str, Any]) -> str:
    commit, _, changes = str(environment.get("commit") or "unknown").partition("+")
    return "" if commit == "unknown" else f"code {commit[:9]}{' with changes' if changes else ''}"


def _dates(sources: Sequence[Provenance]) -> str:
    days = sorted({source.ended[:10] for source in sources if source.ended})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else ""
