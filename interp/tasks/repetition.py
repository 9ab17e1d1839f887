"""Induction: random tokens, then the same again. Only their order within the prompt tells what comes next.

Elhage et al. 2021 ("A Mathematical Framework for Transformer Circuits") and Olsson et al. 2022 ("In-context Learning
and Induction Heads") define an induction head on such prompts: at a token A it attends to what followed A before.
"""

from __future__ import annotations

from typing import Any

import torch

from interp.errors import InputError
from interp.hooks.partial import embedding_device
from interp.hooks.prompts import PromptTokens, prompt_tokens
from interp.models.tokens import bos_token
from interp.tasks.pairs import PromptPairs
from interp.tasks.token_tensors import from_tokens
from interp.tasks.wording import ordinary_tokens


def induction(
    model: Any, n: int = 10, length: int = 50, seed: int = 0, prepend_bos: bool = False, n_repeats: int = 2
) -> PromptPairs:
    """Random tokens r_1 ... r_L repeated, against prompts whose earlier copies are redrawn.

        clean    [BOS] r_1 ... r_L   r_1 ... r_L        answer r_1, which followed r_L the last time
        corrupt  [BOS] x_1 ... x_L   r_1 ... r_L        no x is an r, so nothing followed r_L before

    The distractor is another token of the last copy, drawn at random: answer and distractor stand equally often in
    both prompts, and copying either without regard to order gives a logit difference of about 0. Roles: "A1", the
    earlier r_L; "B1", the answer after it, where an induction head looks; "end", the last r_L.

    n: pairs. length: L, at least 3. n_repeats: copies in the clean prompt; all but the last are redrawn. Special
    tokens are left out, tokens within a pair are distinct. Works without a tokenizer (then without BOS). Raises
    InputError when the vocabulary or the context is too small.
    """
    _check_sizes(model, n, length, n_repeats, prepend_bos, shortest=3)
    vocabulary = ordinary_tokens(model)
    if 2 * length > len(vocabulary):
        raise InputError(
            f"two times {length} distinct tokens need a larger vocabulary than this model's {len(vocabulary)} ordinary "
            f"tokens; use length={len(vocabulary) // 2} or less"
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack(
        [vocabulary[torch.randperm(len(vocabulary), generator=generator)[: 2 * length]] for _ in range(n)]
    )
    repeated, redrawn = drawn[:, :length], drawn[:, length:]
    other = torch.randint(1, length - 1, (n, 1), generator=generator)  # neither the answer nor the current token
    bos = torch.tensor([bos_token(model)] if prepend_bos else [], dtype=torch.long).expand(n, -1)
    earlier = torch.full((n,), bos.shape[1] + (n_repeats - 1) * length - 1)
    device = embedding_device(model)
    return from_tokens(
        torch.cat([bos, *[repeated] * n_repeats], dim=1).to(device),
        torch.cat([bos, *[redrawn] * (n_repeats - 1), repeated], dim=1).to(device),
        repeated[:, 0],
        repeated.gather(1, other),
        positions={"A1": earlier, "B1": earlier + 1},
        prepend_bos=prepend_bos,
        name="induction",
        seed=seed,
        settings={"corruption": "redrawn", "length": length, "n_repeats": n_repeats},
        tokenizer=getattr(model, "tokenizer", None),
    )


def repeated_random_tokens(
    model: Any, n: int = 10, length: int = 50, seed: int = 0, prepend_bos: bool = False, n_repeats: int = 2
) -> PromptTokens:
    """[BOS] + `length` random tokens, repeated: token ids [n, bos + length * n_repeats], for losses and head scores.

    Tokens are drawn independently and with replacement from the vocabulary without special tokens (Olsson et al. 2022,
    appendix, without their cut of the commonest and rarest). Attention from a token to where an induction head looks is
    the diagonal `1 - length` of the pattern, to its earlier copy `-length`. Raises InputError when the context is too
    small.
    """
    _check_sizes(model, n, length, n_repeats, prepend_bos, shortest=1)
    vocabulary = ordinary_tokens(model)
    generator = torch.Generator().manual_seed(seed)
    drawn = vocabulary[torch.randint(len(vocabulary), (n, length), generator=generator)]
    bos = torch.tensor([bos_token(model)] if prepend_bos else [], dtype=torch.long).expand(n, -1)
    return prompt_tokens(torch.cat([bos, *[drawn] * n_repeats], dim=1).to(embedding_device(model)))


def _check_sizes(model: Any, n: int, length: int, n_repeats: int, prepend_bos: bool, *, shortest: int) -> None:
    if n < 1 or length < shortest or n_repeats < 2:
        raise InputError(
            f"n={n}, length={length}, n_repeats={n_repeats} make no repetition; use n >= 1, length >= {shortest}, "
            "n_repeats >= 2"
        )
    total, n_ctx = int(prepend_bos) + length * n_repeats, getattr(model.cfg, "n_ctx", None)
    if n_ctx is not None and total > n_ctx:
        raise InputError(
            f"{n_repeats} times {length} tokens are {total} positions and the model takes {n_ctx}; use length="
            f"{(n_ctx - int(prepend_bos)) // n_repeats} or less"
        )
