"""Induction in ordinary text: a rare phrase occurs a second time and is cut before its last token.

What random tokens test in the extreme (`repetition`), on text that the model was trained for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from interp.errors import InputError
from interp.hooks.partial import embedding_device
from interp.tasks.pairs import PromptPairs
from interp.tasks.token_tensors import from_tokens
from interp.tasks.wording import Wording, wording

FRAMES = (
    "The museum by the harbour keeps {} behind thick glass. Most visitors walk past it. Last winter a thief took {}",
    "My uncle never stopped talking about {}. At dinner he would put down his fork, lean back and describe {}",
    "Nobody in the village had heard of {} before the flood. When the water went down, children found {}",
    "The letter mentioned {} only once, near the end. Three lawyers read it twice and still asked about {}",
    "She had painted {} on the kitchen wall, above the stove. Guests who came for tea always admired {}",
    "In the third chapter the captain trades his boots for {}. Much later, alone on the island, he remembers {}",
    "A small shop on the corner sold {} for almost nothing. Years afterwards a collector offered a fortune for {}",
    "The poem begins with {} and wanders off to other things. Only in its final line does it come back to {}",
    "They argued for days over who should inherit {}. In the end the youngest daughter simply carried away {}",
    "According to the old map, the valley was named after {}. Our guide smiled and promised to show us {}",
)
PHRASES = (
    "a clockwork heron with emerald feathers",
    "the copper lantern of Doctor Velasquez",
    "seventeen crooked silver thimbles",
    "a walnut violin without strings",
    "the frozen orchard beneath Mount Kessler",
    "an umbrella stitched from velvet maps",
    "the limping wolf of Saint Bertram",
    "a porcelain octopus wearing spectacles",
    "the forgotten lighthouse at Pelican Reef",
    "a cracked marble chessboard from Lisbon",
)
MIN_SPAN = 2


def repeated_text(
    model: Any, texts: Sequence[str] | None = None, n: int | None = None, seed: int = 0, prepend_bos: bool = False
) -> PromptPairs:
    """Texts in which a span occurs twice, against the same texts with the earlier occurrence overwritten.

    The longest span of tokens that occurs twice is found in every text. Its last word is the answer (the first token of
    that word), and the clean prompt ends just before it the second time. In the corrupt prompt the first occurrence is
    overwritten, token by token, with words of the built-in texts that this text does not use; the distractor is what
    then stands in the answer's place. Lengths are equal. Roles: "span", the first token of the earlier span; "B1", the
    answer in it; "A1", the token before "B1"; "end", the same token as "A1".

    texts: your own, each with a repeated span of at least two tokens; by default `n` (10) combinations of the built-in
    FRAMES and PHRASES. Raises InputError for a text without a repeated span.
    """
    if texts is None:
        texts = _built_in(10 if n is None else n, seed)
    elif n is not None and n != len(texts):
        raise InputError(f"n={n} is for the built-in texts; {len(texts)} texts make {len(texts)} pairs")
    words = wording(model, prepend_bos)
    generator = torch.Generator().manual_seed(seed)
    filler = _filler(words)
    clean, corrupt, spans = [], [], []
    for number, text in enumerate(texts):
        tokens = words.prompt(text)
        first, second, size = longest_repeat(tokens)
        if size < MIN_SPAN:
            raise InputError(f"text {number} has no span of {MIN_SPAN} tokens that occurs twice: {text[:60]!r}")
        # How far into the span its last word begins; words that begin the span, or none, leave its last token.
        last = max((i for i in range(1, size) if words.begins_word(tokens[first + i])), default=size - 1)
        clean.append(tokens[: second + last])
        corrupt.append(_overwritten(clean[-1], first, size, filler, generator))
        spans.append((first, first + last, tokens[second + last]))
    task = from_tokens(
        clean,
        corrupt,
        [answer for _, _, answer in spans],
        [row[last] for row, (_, last, _) in zip(corrupt, spans)],
        positions={
            "span": [first for first, _, _ in spans],
            "A1": [last - 1 for _, last, _ in spans],
            "B1": [last for _, last, _ in spans],
        },
        pad_id=words.pad_id,
        prepend_bos=prepend_bos,
        name="repeated_text",
        n_vocab=int(model.cfg.d_vocab),
        seed=seed,
        settings={"corruption": "overwritten"},
        tokenizer=words.tokenizer,
    )
    return task.to(embedding_device(model))


def longest_repeat(tokens: Sequence[int]) -> tuple[int, int, int]:
    """The longest run of tokens that occurs twice without overlap: (first start, second start, length).

    The length is 0 where no token occurs twice; of several the first found is taken. Quadratic in the length.
    """
    best = (0, 0, 0)
    previous = [0] * (len(tokens) + 1)
    for i in range(1, len(tokens) + 1):
        # current[j]: length of the common run that ends with token i - 1 and, earlier, with token j - 1.
        current = [0] * (len(tokens) + 1)
        for j in range(1, i):
            if tokens[i - 1] == tokens[j - 1]:
                current[j] = min(previous[j - 1] + 1, i - j)
                if current[j] > best[2]:
                    best = (j - current[j], i - current[j], current[j])
        previous = current
    return best


def _overwritten(tokens: list[int], start: int, size: int, filler: list[int], generator: torch.Generator) -> list[int]:
    """`tokens` with `size` of them from `start` replaced by different filler tokens that do not occur in them."""
    unused = [token for token in filler if token not in tokens]
    if len(unused) < size:
        raise InputError(f"the span to overwrite has {size} tokens and only {len(unused)} replacements are known")
    chosen = [unused[i] for i in torch.randperm(len(unused), generator=generator)[:size].tolist()]
    return [*tokens[:start], *chosen, *tokens[start + size :]]


def _filler(words: Wording) -> list[int]:
    """The words of the built-in texts that are single tokens."""
    known = {word.strip(".,") for text in FRAMES + PHRASES for word in text.split()} - {"{}"}
    tokens = {words.single_token(word, after="When") for word in known}
    return sorted(token for token in tokens if token is not None)


def _built_in(n: int, seed: int) -> list[str]:
    """`n` different combinations of a frame and a phrase, frames in turn."""
    n_all = len(FRAMES) * len(PHRASES)
    if not 1 <= n <= n_all:
        raise InputError(f"there are 1 to {n_all} built-in texts, not {n}; give your own")
    shift = int(torch.randint(len(PHRASES), (), generator=torch.Generator().manual_seed(seed)))
    texts = []
    for i in range(n):
        frame, phrase = i % len(FRAMES), (i + i // len(FRAMES) + shift) % len(PHRASES)
        texts.append(FRAMES[frame].replace("{}", PHRASES[phrase]))
    return texts
