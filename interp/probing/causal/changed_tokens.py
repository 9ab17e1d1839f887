"""Which tokens are changed, and how far behind them the prediction is read: in words, since an effect hangs on both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from interp.probing.causal.places import Places

MOST = 2
"""Tokens that are named as examples."""
SHOWN = 16
"""Tokens of a prompt that are shown, up to the changed one."""


def changed(model: Any, position: str, places: Places, after: str) -> dict[str, Any]:
    """Plain data for settings: the position, its commonest tokens, one prompt, and tokens up to the prediction.

    after: the text that was put behind every prompt.
    """
    rows = places.tokens.as_subclass(Tensor).cpu()
    at = places.at.cpu()
    common = Counter(rows.gather(1, at[:, None])[:, 0].tolist()).most_common(MOST)
    first = (rows[range(len(rows)), at] == common[0][0]).nonzero()[0, 0]
    up_to = rows[first, : int(at[first]) + 1].tolist()
    cut = "..." if len(up_to) > SHOWN else ""
    later = (places.read.cpu() - at).tolist()
    return {
        "position": position,
        "tokens": [_spelled(model, [token]) for token, _ in common],
        "prompt": cut + _spelled(model, up_to[-SHOWN:]),
        "after": after,
        "later": [min(later), max(later)],
    }


def place_words(found: Mapping[str, Any]) -> str:
    """The changed token and where the prediction is read, as the end of "changed is"."""
    tokens = " or ".join(f'"{token}"' for token in found["tokens"])
    return f"the token at {found['position']!r} (such as {tokens}), {_read_words(found)}"


def place_note(found: Mapping[str, Any]) -> str:
    """The same as a note, with a prompt, and with what an effect near zero does not show."""
    where = f'{found["position"]!r} (such as "{found["tokens"][0]}" in "{found["prompt"]}")'
    warning = f": {_NOT_SHOWN}" if found["later"][1] else ""
    return f"changed is the state of one token, at {where}, {_read_words(found)}{warning}"


def place_finding(found: Mapping[str, Any] | None) -> str:
    """What a finding adds where the prediction is read at a later token than the one that is changed."""
    if not found or not found["later"][1]:
        return ""
    return f" Changed is only {place_words(found)}: {_NOT_SHOWN}."


_NOT_SHOWN = (
    "later tokens can get the property from others, so that an effect near zero does not show that it is not used"
)


def _read_words(found: Mapping[str, Any]) -> str:
    least, most = found["later"]
    if not most:
        return "where the prediction is read, too"
    span = str(most) if least == most else f"{least} to {most}"
    behind = f', after "{found["after"]}", which is put behind every prompt' if found["after"] else ""
    return f"and the prediction is read {span} token{'s' * (most > 1)} later{behind}"


def _spelled(model: Any, tokens: list[int]) -> str:
    """Tokens as text, or as their ids where the model has no tokenizer."""
    tokenizer = getattr(model, "tokenizer", None)
    text = " ".join(map(str, tokens)) if tokenizer is None else str(tokenizer.decode(tokens))
    return text.replace("\n", "\\n")
