"""Pieces of characters as bytes, by the vocabularies of two kinds of tokenizers."""

from __future__ import annotations

import pytest

from interp.heads.matrices.token_bytes import with_bytes
from interp.heads.matrices.word_tables import quoted


class Pieces:
    """A tokenizer that only says what stands in its vocabulary."""

    def __init__(self, *pieces: str) -> None:
        self._pieces = pieces

    def convert_ids_to_tokens(self, token: int) -> str:
        return self._pieces[token]


@pytest.mark.parametrize(
    ("piece", "text", "told"),
    [
        ("\u00e2\u0122", "\ufffd", "\\xe2\\x80"),  # the two first bytes of a quotation mark, in GPT-2's alphabet
        ("\u0120\u00e2", " \ufffd", " \\xe2"),  # with a space before it
        ("<0xE2>", "\ufffd", "\\xe2"),
        ("caf\u00e9", "caf\ufffd", "caf\\xe9"),
        ("\u4e2d", "\ufffd", "\ufffd"),  # no byte-level vocabulary
        ("ab", "\ufffd", "\ufffd"),  # which decodes to something else
    ],
)
def test_pieces_of_characters_are_their_bytes(piece: str, text: str, told: str) -> None:
    assert with_bytes(Pieces(piece, "the"), [0, 1], [text, "the"]) == [told, "the"]


def test_words_have_borders() -> None:
    assert [quoted(word) for word in (" the", "it's", "\n", "\\xe2")] == ["' the'", '"it\'s"', "'\\n'", "'\\xe2'"]
