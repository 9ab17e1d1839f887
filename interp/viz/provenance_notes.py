"""Where a page's numbers come from: one line at the top, everything at the end."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from interp.results.plain import to_json

if TYPE_CHECKING:
    from interp.results import Provenance, Result

WIDTH = 110
"""Characters of a line of settings."""
MOST = 4
"""Tasks or seeds that the line at the top names."""


def source_line(results: Sequence[Result]) -> str:
    """Model, tasks, seeds, versions, code and date of the results, in one line of HTML; what differs, in short."""
    sources = [result.provenance for result in results]
    if not sources:
        return ""
    parts = [
        _first(_by_frequency(str(source.model.get("id", "")) for source in sources)),
        _listed("task", _distinct(str(source.task.get("name") or "") for source in sources)),
        _listed("seed", _distinct("" if source.seed is None else str(source.seed) for source in sources)),
        _first(_by_frequency(_device(source) for source in sources)),
        _first(_by_frequency(_versions(source.environment) for source in sources)),
        _first(_by_frequency(_commit(source.environment) for source in sources)),
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
        facts = {"settings": dict(result.settings), "task": dict(result.provenance.task)}
        parts.append(_fold(name, laid_out(facts)))
    for provenance, numbers in shared:
        which = "all results" if len(shared) == 1 else "results " + ", ".join(map(str, numbers))
        name = f"Model and environment of {which}"
        parts.append(_fold(name, laid_out(provenance)))
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


def laid_out(value: Any, indent: int = 0) -> str:
    """JSON for people: what fits on a line stands on one, and lists fill lines."""
    plain = json.loads(to_json(value))
    whole = json.dumps(plain, ensure_ascii=False)
    if not isinstance(plain, dict | list) or not plain or indent + len(whole) <= WIDTH:
        return whole
    inner = " " * (indent + 2)
    if isinstance(plain, dict):
        rows = [f"{inner}{json.dumps(key)}: {laid_out(item, indent + 2)}" for key, item in plain.items()]
        return "{\n" + ",\n".join(rows) + "\n" + " " * indent + "}"
    items = [laid_out(item, indent + 2) for item in plain]
    if any("\n" in item for item in items):
        return "[\n" + ",\n".join(inner + item for item in items) + "\n" + " " * indent + "]"
    lines = [""]
    for item in (item + "," for item in items):
        if lines[-1] and len(inner) + len(lines[-1]) + len(item) > WIDTH:
            lines.append("")
        lines[-1] += f" {item}" if lines[-1] else item
    return "[\n" + "\n".join(inner + line for line in lines).rstrip(",") + "\n" + " " * indent + "]"


def _distinct(parts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(part for part in parts if part))


def _by_frequency(parts: Iterable[str]) -> list[str]:
    """Each different one once, the most frequent first."""
    return [part for part, _ in Counter(part for part in parts if part).most_common()]


def _first(parts: Sequence[str]) -> str:
    """The first, and whether there are more, which stand at the end of the page."""
    return f"{parts[0]}{' and others' if len(parts) > 1 else ''}" if parts else ""


def _listed(word: str, parts: Sequence[str]) -> str:
    """ "tasks ioi, english texts", at most four of them."""
    if not parts:
        return ""
    more = ", …" if len(parts) > MOST else ""
    return f"{word}{'s' * (len(parts) > 1)} {', '.join(parts[:MOST])}{more}"


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
