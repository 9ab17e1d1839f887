"""How tokens, labels and numbers are written into pages: no text becomes markup, and no page grows for nothing.

Three sinks need three forms. Plotly reads a small HTML in labels, so `<` is written as an entity. CircuitsVis puts
tokens into pages as raw HTML in one place and as plain text in another (the hover box), where an entity would show as
`&lt;`; a word joiner (U+2060, invisible) after `<` and `&` is right in both, since the HTML standard starts a tag only
at `<` followed by a letter, `/`, `!` or `?`, and a character reference only at `&` followed by a letter, digit or `#`.
JSON inside a script element has every `<` written as its unicode escape.
"""

from __future__ import annotations

import html
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

_WORD_JOINER = "\u2060"
_INTERVAL = re.compile(r"\[[+−\-\d.,e∞]+, [+−\-\d.,e∞]+\]")
_VISIBLE = {"\n": "↵", "\r": "␍", "\t": "⇥", "\x00": "␀"}


def visible(token: str) -> str:
    """The token with white space and control characters made visible; a leading space stays, a lone one is a dot."""
    if token and not token.strip(" "):
        return "·" * len(token)
    return "".join(_VISIBLE.get(c) or ("�" if _is_control(c) else c) for c in token) or "∅"


def dotted(token: str) -> str:
    """The token with a dot for each space, where ' the' and 'the' stand side by side, and nothing that is not seen."""
    return "".join("·" if c == " " else c if c.isprintable() or c in _VISIBLE else ascii(c)[1:-1] for c in token)


def _is_control(character: str) -> bool:
    # Control characters and lone surrogates cannot be shown; the bidirectional overrides would turn the page around.
    return (
        unicodedata.category(character) in ("Cc", "Cs")
        or character in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    )


def for_plotly(label: object, limit: int | None = None) -> str:
    """A label that plotly shows as it is, cut to `limit` characters."""
    text = visible(str(label)) if label != "" else ""
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    return html.escape(text, quote=False)


def for_inner_html(token: str) -> str:
    """A token that reads the same as raw HTML and as plain text; a line break keeps its break."""
    safe = visible(token).replace("&", "&" + _WORD_JOINER).replace("<", "<" + _WORD_JOINER)
    return safe + "\n" if token.endswith("\n") else safe


def decimals_for(values: Any, significant: int = 3) -> int:
    """Decimals that keep `significant` figures of the largest |value|, never fewer than 3."""
    array = np.abs(np.asarray(values, dtype=float))
    largest = float(np.nanmax(array)) if array.size and not np.isnan(array).all() else 0.0
    if largest == 0.0 or math.isinf(largest):
        return 3
    return max(3, significant - 1 - math.floor(math.log10(largest)))


def rounded(values: Any, decimals: int = 3) -> list[Any]:
    """An array or tensor as nested lists, rounded; whole numbers become integers, what is not finite None."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().double().numpy()
    array = np.round(np.asarray(values, dtype=float), decimals)
    out = array.astype(object)
    whole = (array == np.trunc(array)) & (np.abs(array) < 1e15)
    out[whole] = array[whole].astype(np.int64).astype(object)
    out[~np.isfinite(array)] = None
    return out.tolist()


def script_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """Compact JSON that is safe inside a script element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def paragraphs(text: str) -> str:
    """Plain text as HTML paragraphs: blank lines separate them, `back ticks` mark code."""
    blocks: Iterable[str] = (block.strip() for block in text.split("\n\n"))
    return "".join(f"<p>{in_line(block)}</p>" for block in blocks if block)


def whole_intervals(markup: str) -> str:
    """Text that is escaped already, with every interval [a, b] kept on one line."""
    return _INTERVAL.sub(r'<span class="interval">\g<0></span>', markup)


def in_line(text: str) -> str:
    """Plain text as HTML for a place inside a paragraph: `back ticks` mark code, intervals and "95 %" do not break."""
    escaped = whole_intervals(html.escape(text)).replace(" %", "\u00a0%")
    parts = escaped.split("`")
    if len(parts) % 2 == 0:  # an odd back tick is only a character
        return escaped
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
