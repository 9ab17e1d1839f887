"""Part of speech of the words of real English prose, tagged by Brill's rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from interp.probing.datasets.placing import Text, Word, placed
from interp.probing.datasets.tagging import LICENCE, UNIVERSAL, WORD, Tagger, tagger
from interp.probing.labelled import TOKEN, LabelledTokens
from interp.tasks.english_texts import LICENCE as TEXT_LICENCE
from interp.tasks.english_texts import english_passages

N_WORDS = 100
"""Words of a passage; few, so that examples come out of many documents."""
SKIPPED = 5
"""First words of a passage, which have too little before them."""
ENDS = {".", "!", "?", ";"}


def parts_of_speech(
    model: Any, n: int = 2000, seed: int = 0, prepend_bos: bool = False, *, source: str | Path | None = None
) -> LabelledTokens:
    """`n` words in passages of different documents, labelled NOUN, PROPN, VERB, ADJ, ADV, PRON, DET, ADP, NUM, CONJ or
    PRT (particles and "to").

    At the last token of each word: what the model knows of it there, it knows without the words that follow. Groups are
    documents, types words in lower case. source: texts of one's own (see `english_documents`). Classes with fewer than
    20 words in 1000 are left out.
    """
    n_passages = max(8, min(200, -(-n // 20)))
    passages = english_passages(n_passages, n_words=N_WORDS, seed=seed, source=source)
    rules = tagger()
    texts = [Text(text, name, list(_words(text, rules))) for name, text in passages]
    counts: dict[str, int] = {}
    for text in texts:
        for word in text.words:
            counts[word.label] = counts.get(word.label, 0) + 1
    frequent = {name for name, count in counts.items() if count >= 0.02 * sum(counts.values())}
    chosen = _drawn(
        [(i, word) for i, text in enumerate(texts) for word in text.words if word.label in frequent], n, seed
    )
    kept = [Text(text.text, text.group, chosen.get(i, [])) for i, text in enumerate(texts)]
    return placed(
        model,
        [text for text in kept if text.words],
        name="part_of_speech",
        group_is="document",
        seed=seed,
        prepend_bos=prepend_bos,
        settings={
            "source": "presidents' messages" if source is None else str(source),
            "licence": f"labels: {LICENCE}" + (f"; texts: {TEXT_LICENCE}" if source is None else ""),
        },
        notes=["labels are those of a rule-based tagger, wrong in about 5 words of 100"],
    )


def _words(text: str, rules: Tagger) -> Iterator[Word]:
    """The words of a text with their universal tags, sentence by sentence; punctuation is left out."""
    sentence: list[Any] = []
    n_words = 0
    found = list(WORD.finditer(text))
    for i, match in enumerate(found):
        sentence.append(match)
        if match[0] in ENDS or i == len(found) - 1:
            for word, tag in zip(sentence, rules.tags([item[0] for item in sentence])):
                n_words += 1
                if tag in UNIVERSAL and n_words > SKIPPED and word[0][-1].isalnum():
                    yield Word({TOKEN: word.span()}, UNIVERSAL[tag], word[0].lower())
            sentence = []


def _drawn(words: list[tuple[int, Word]], n: int, seed: int) -> dict[int, list[Word]]:
    """`n` of the words at random, by text."""
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(seed))[:n].sort().values.tolist()
    by_text: dict[int, list[Word]] = {}
    for i in order:
        by_text.setdefault(words[i][0], []).append(words[i][1])
    return by_text
