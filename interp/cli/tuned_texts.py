"""What the commands of the tuned lens share: documents, a lens on disk, and the table of its evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from jaxtyping import Int
from torch import Tensor

from interp import lens
from interp.cli.answering import Answer
from interp.cli.fitting import context_of
from interp.cli.passages import ENGLISH, RANDOM
from interp.cli.texts import check_reads_text
from interp.errors import InputError
from interp.lens import TunedLens, TunedLensEvaluation
from interp.lens.tuned_texts import as_contexts
from interp.tasks.english_texts import english_documents
from interp.tasks.repetition import repeated_random_tokens

ROWS = 12
"""Layers of the printed tables."""


def context_length(model: Any, wanted: int, text: str, bos: bool) -> int:
    """`wanted` tokens, or as many as the model takes; of random tokens an even number after the BOS.

    Raises InputError where that leaves no random token that is repeated.
    """
    limit = context_of(model)
    length = wanted if limit is None else min(wanted, limit)
    if not is_random(model, text):
        return length
    if length < 2 + int(bos):
        after = " after the BOS" if bos else ""
        raise InputError(
            f"--context {wanted} has no room for a random token and its repetition{after}; use --context "
            f"{2 + int(bos)} or more"
        )
    return length - (length - int(bos)) % 2


def is_random(model: Any, text: str) -> bool:
    """Whether contexts are random tokens, repeated: asked for, or since the model has no tokenizer."""
    return text == RANDOM or (text == ENGLISH and model.tokenizer is None)


def read_contexts(
    model: Any, text: str, length: int, n: int | None, *, held_out: bool, seed: int, bos: bool
) -> Int[Tensor, "context pos"]:
    """Contexts of one side of the split: at most `n`, drawn by the seed, or all of a text's in order.

    Raises InputError for a text where the model has no tokenizer, and for texts that are too short.
    """
    if is_random(model, text):
        if n is None:
            raise InputError("random tokens never end; say how many contexts")
        drawn = repeated_random_tokens(model, n, (length - int(bos)) // 2, 2 * seed + int(held_out), bos)
        return drawn.as_subclass(Tensor).cpu()
    documents = training_texts(model, text, held_out=held_out)
    return as_contexts(model, documents, length, n, prepend_bos=bos, seed=seed)


def described_texts(model: Any, text: str) -> str:
    """What contexts are made of, in words."""
    if is_random(model, text):
        return "random tokens, repeated once"
    return "presidents' messages" if text == ENGLISH else f"the texts of {text}"


def training_texts(model: Any, text: str, *, held_out: bool) -> list[tuple[str, str]]:
    """The documents of one side of the split by document names.

    A single .txt file is cut at its blank lines, each paragraph a document, since a split of one document is none.
    """
    check_reads_text(model, f"use --text {RANDOM}")
    documents = english_documents(None if text == ENGLISH else text)
    if text.endswith(".txt"):
        documents = iter(_halves(*next(documents)))
    return lens.split_documents(documents, held_out)


def _halves(name: str, text: str) -> list[tuple[str, str]]:
    """A file as some pieces of about equal length, cut at ends of lines, so that a split has two sides."""
    lines = text.splitlines(keepends=True)
    size = max(1, -(-len(lines) // 50))
    return [(f"{name} {i}", "".join(lines[i : i + size])) for i in range(0, len(lines), size)]


def load_lens(model: Any, directory: str) -> TunedLens:
    """A lens from disk that fits the model."""
    found = stored_lens(directory)
    found.check(model)
    return found


def stored_lens(directory: str) -> TunedLens:
    """A lens from disk; a run's directory stands for the lens in it."""
    path = Path(directory).expanduser()
    return TunedLens.load(path / "lens" if (path / "lens").is_dir() else path)


def some_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """About a dozen rows, the last among them; layers as text."""
    step = -(-len(frame) // ROWS)
    kept = frame.iloc[[i for i in range(len(frame)) if (len(frame) - 1 - i) % step == 0]].copy()
    kept["layer"] = kept["layer"].astype(str)
    return kept


def held_out_contexts(
    model: Any, text: str, length: int, n: int, *, seed: int, bos: bool
) -> Int[Tensor, "context pos"]:
    """What a lens is evaluated on. Raises InputError where the held-out texts do not make `n` contexts."""
    found = read_contexts(model, text, length, n if is_random(model, text) else None, held_out=True, seed=seed, bos=bos)
    if len(found) < n:
        raise InputError(
            f"the held-out texts make {len(found)} contexts of {length} tokens and {n} are wanted; use "
            f"--n {len(found)}, a shorter --context, or more texts"
        )
    return found


def evaluated(answer: Answer, tuned: TunedLens, contexts: Tensor, *, n: int, seed: int) -> TunedLensEvaluation:
    """Both lenses on `n` of the held-out contexts, as a step of the run, with its table and what it shows."""
    found = answer.step(
        "evaluation",
        lambda: lens.evaluate_tuned_lens(
            answer.model,
            tuned,
            contexts,
            context=contexts.shape[1],
            n=n,
            positions=min(16, contexts.shape[1] - 1),
            seed=seed,
        ),
    )
    title = f"{n} held-out contexts: KL from the model's prediction and bias (nats), agreement with its first choice"
    answer.show(_table(found), title)
    answer.conclude(*lens.tuned_lens_findings(found))
    return found


def _table(found: TunedLensEvaluation) -> pd.DataFrame:
    layers = found.values["kl"].axis("layer").labels
    columns: dict[str, list[Any]] = {"layer": list(layers)}
    for name, short in (("kl", "KL"), ("bias", "bias"), ("agreement", "agreement")):
        for which in ("logit lens", "tuned lens"):
            columns[f"{short} {which.split()[0]}"] = found.values[name].sel(lens=which).data.tolist()
    return some_rows(pd.DataFrame(columns))
