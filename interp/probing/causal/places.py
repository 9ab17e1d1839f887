"""Tokens at which a state is changed, and the prediction that is read afterwards: of a task, and of unrelated text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import InputError
from interp.hooks.partial import embedding_device
from interp.probing.labelled import LabelledTokens
from interp.probing.splitting import numbered
from interp.tasks.english_texts import passage_tokens
from interp.tasks.wording import ordinary_tokens

ENGLISH, RANDOM = "english", "random"
CONTEXT = 16
"""Tokens of an unrelated text up to the one whose prediction is read."""
MOST_DOCUMENTS = 200


@dataclass(frozen=True, eq=False)
class Places:
    """One changed token a prompt.

    tokens: prompts, right-padded. at: the token that is changed. read: the token whose prediction is read, `at` or
    later. following: the token after it, -1 where there is none. groups: what intervals draw as a whole.
    """

    tokens: Int[Tensor, "place pos"]
    at: Int[Tensor, " place"]
    read: Int[Tensor, " place"]
    following: Int[Tensor, " place"]
    groups: Int[Tensor, " place"]

    def __len__(self) -> int:
        return len(self.at)

    def rows(self, index: Sequence[int] | Tensor) -> Places:
        """Some of the places; groups keep their numbers."""
        keep = torch.as_tensor(index)
        return replace(self, **{name: tensor[keep.to(tensor.device)] for name, tensor in vars(self).items()})


def task_places(model: Any, data: LabelledTokens, appended: Sequence[int] = (), at_end: bool = False) -> Places:
    """The examples of a task with one named position, each in a prompt of its own.

    appended: token ids that are put after every prompt. at_end: the prediction is read at the end of the prompt,
    otherwise at the example itself. Raises InputError for prompts that become longer than the model's context.
    """
    (at,) = data.positions.values()
    plain = data.tokens.as_subclass(Tensor).cpu()[data.rows]
    lengths = data.tokens.lengths.cpu()[data.rows]
    if appended:
        plain = _with(plain, lengths, torch.tensor(list(appended)))
        lengths = lengths + len(appended)
    read = lengths - 1 if at_end or appended else at.clone()
    width = int((read + 2).max().clamp(max=plain.shape[1]))
    n_ctx = getattr(model.cfg, "n_ctx", None)
    if n_ctx is not None and int(lengths.max()) > n_ctx:
        raise InputError(
            f"a prompt with what is put after it has {int(lengths.max())} tokens and the model takes {n_ctx}"
        )
    after = (read + 1).clamp(max=plain.shape[1] - 1)
    following = plain.gather(1, after[:, None])[:, 0].where(read + 1 < lengths, -1)
    tokens = plain[:, :width].to(embedding_device(model))
    return Places(tokens, at, read, following, numbered(data.groups))


def _with(rows: Int[Tensor, "row pos"], lengths: Int[Tensor, " row"], more: Int[Tensor, " more"]) -> Tensor:
    """`more` behind the end of every row."""
    out = torch.cat([rows, rows.new_zeros(len(rows), len(more))], dim=1)
    return out.scatter(1, lengths[:, None] + torch.arange(len(more)), more.expand(len(rows), -1))


def text_places(model: Any, n: int, reach: int, seed: int, source: str | Path = ENGLISH) -> tuple[Places, str]:
    """`n` tokens of unrelated text, each in a passage of its own, and what the text is.

    reach: how far behind the changed token the prediction is read, as in the task. source: "english" (presidents'
    messages; "random" where the model has no tokenizer), "random" (random tokens), a .txt file or a folder of them.
    """
    n_ctx = int(getattr(model.cfg, "n_ctx", None) or CONTEXT + reach + 1)
    width = max(2, min(CONTEXT + reach + 1, n_ctx))
    reach = min(reach, width - 2)
    if source == RANDOM or (source == ENGLISH and getattr(model, "tokenizer", None) is None):
        known = ordinary_tokens(model)
        drawn = torch.randint(len(known), (n, width), generator=torch.Generator().manual_seed(seed + 1))
        tokens, documents, name = known[drawn], torch.arange(n), "random tokens"
    else:
        n_documents = min(n, MOST_DOCUMENTS)
        each = -(-n // n_documents)
        path = None if source == ENGLISH else source
        passages = passage_tokens(model, n_documents, each * width, seed=seed, source=path)
        tokens = passages.as_subclass(Tensor).cpu().reshape(-1, width)[:n]
        documents = torch.arange(n) // each
        name = "presidents' messages" if path is None else str(path)
    read = torch.full((n,), width - 2)
    placed = tokens.to(embedding_device(model))
    return Places(placed, read - reach, read, tokens[:, -1].cpu(), documents), name
