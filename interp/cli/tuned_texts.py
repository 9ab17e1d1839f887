"""What the commands of the tuned lens share: documents, a lens on disk, and the table of its evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from interp import lens
from interp.cli.answering import Answer
from interp.errors import InputError
from interp.lens import TunedLens, TunedLensEvaluation
from interp.tasks.english_texts import english_documents

ENGLISH = "english"
ROWS = 12
"""Layers of the printed tables."""


def training_texts(model: Any, text: str, *, held_out: bool) -> list[tuple[str, str]]:
    """The documents of one side of the split by document names.

    A single .txt file is cut at its blank lines, each paragraph a document, since a split of one document is none.
    """
    if model.tokenizer is None:
        raise InputError(
            f"{model.cfg.model_name} has no tokenizer, so it reads no texts; use Python with token tensors"
        )
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
    """A lens from disk that fits the model; a run's directory stands for the lens in it."""
    path = Path(directory).expanduser()
    found = TunedLens.load(path / "lens" if (path / "lens").is_dir() else path)
    found.check(model)
    return found


def some_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """About a dozen rows, the last among them; layers as text."""
    step = -(-len(frame) // ROWS)
    kept = frame.iloc[[i for i in range(len(frame)) if (len(frame) - 1 - i) % step == 0]].copy()
    kept["layer"] = kept["layer"].astype(str)
    return kept


def evaluated(
    answer: Answer, tuned: TunedLens, text: str, *, context: int, n: int, seed: int, bos: bool
) -> TunedLensEvaluation:
    """Both lenses on held-out documents, as a step of the run, with its table."""
    model = answer.model
    found = answer.step(
        "evaluation",
        lambda: lens.evaluate_tuned_lens(
            model,
            tuned,
            training_texts(model, text, held_out=True),
            context=context,
            n=n,
            positions=min(16, context - 1),
            seed=seed,
            prepend_bos=bos,
        ),
    )
    title = f"{n} held-out contexts: KL from the model's prediction and bias (nats), agreement with its first choice"
    answer.show(_table(found), title)
    return found


def _table(found: TunedLensEvaluation) -> pd.DataFrame:
    layers = found.values["kl"].axis("layer").labels
    columns: dict[str, list[Any]] = {"layer": list(layers)}
    for name, short in (("kl", "KL"), ("bias", "bias"), ("agreement", "agreement")):
        for which in ("logit lens", "tuned lens"):
            columns[f"{short} {which.split()[0]}"] = found.values[name].sel(lens=which).data.tolist()
    return some_rows(pd.DataFrame(columns))
