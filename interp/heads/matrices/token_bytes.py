"""Tokens that are pieces of a character, as the bytes that they are: \\xe2\\x80 instead of a replacement character."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

_BYTE = re.compile(r"^<0x([0-9A-Fa-f]{2})>$")


def with_bytes(tokenizer: Any, ids: Sequence[int], texts: Sequence[str]) -> list[str]:
    """The texts, with every byte that is no part of a whole character written out, where the tokenizer tells it."""
    return [text if "\ufffd" not in text else _told(tokenizer, token, text) for token, text in zip(ids, texts)]


def _told(tokenizer: Any, token: int, text: str) -> str:
    raw = _bytes_of(tokenizer.convert_ids_to_tokens(token))
    # Only what the tokenizer itself decodes to this text: another kind of vocabulary may use the same letters.
    known = raw is not None and raw.decode("utf-8", errors="replace") == text
    return raw.decode("utf-8", errors="backslashreplace") if raw is not None and known else text


def _bytes_of(piece: str | None) -> bytes | None:
    """The bytes of an entry of a vocabulary: "<0xE2>", or letters that each stand for a byte (GPT-2's alphabet)."""
    if piece is None:
        return None
    if single := _BYTE.match(piece):
        return bytes([int(single[1], 16)])
    alphabet = _alphabet()
    return bytes(alphabet[c] for c in piece) if all(c in alphabet for c in piece) else None


@cache
def _alphabet() -> dict[str, int]:
    """Byte-level vocabularies write a printable byte as itself, and the others as letters from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
