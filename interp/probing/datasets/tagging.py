"""Parts of speech by Brill's tagger: a lexicon, rules for unknown words, and rules of context.

Brill 1992, "A Simple Rule-Based Part of Speech Tagger"; his rules, learnt from the Penn Treebank, and a lexicon of
94,000 words come from the package TextBlob on PyPI (MIT; data by way of Pattern, BSD), whose text files are read and
whose code is not run. About 95 words in 100 are tagged correctly in newspaper text; the errors are noise in the labels.
Tags are reduced to the universal ones of Petrov et al. 2012, with proper nouns apart.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from interp.models.wheels import Wheel, obtain
from interp.runs import atomic_directory, cache_dir, lock

TEXTBLOB = Wheel(
    distribution="textblob",
    version="0.20.1",
    sha256="f957699169a3e7b9a03a504883111b7b6973679496b9af959db2f74ee2449977",
    member="textblob/en/",
    member_sha256="16017cafd7ee1450afd2287840975ecd86a04c59b344ed93ef43dfdbcbc32d5b",
)
LICENCE = "MIT (TextBlob 0.20.1; lexicon and rules by way of Pattern, BSD, after Brill 1992)"
UNIVERSAL = {
    "NN": "NOUN", "NNS": "NOUN", "NNP": "PROPN", "NNPS": "PROPN", "VB": "VERB", "VBD": "VERB", "VBG": "VERB",
    "VBN": "VERB", "VBP": "VERB", "VBZ": "VERB", "MD": "VERB", "JJ": "ADJ", "JJR": "ADJ", "JJS": "ADJ", "RB": "ADV",
    "RBR": "ADV", "RBS": "ADV", "WRB": "ADV", "PRP": "PRON", "PRP$": "PRON", "WP": "PRON", "WP$": "PRON",
    "EX": "PRON", "DT": "DET", "PDT": "DET", "WDT": "DET", "IN": "ADP", "CD": "NUM", "CC": "CONJ", "TO": "PRT",
    "RP": "PRT", "POS": "PRT",
}  # fmt: skip
WORD = re.compile(r"[A-Za-z]+(?=n't\b)|n't\b|'(?:s|re|ve|ll|d|m)\b|[A-Za-z]+(?:-[A-Za-z]+)*|\d[\d,.]*\d|\d|[^\w\s]")
_EDGE = "STAART"


@dataclass(frozen=True)
class Tagger:
    """A lexicon from words to tags, and Brill's rules as lists of fields."""

    lexicon: dict[str, str]
    morphology: list[list[str]]
    context: list[list[str]]

    def tags(self, words: list[str]) -> list[str]:
        """A Penn Treebank tag for every word of one sentence."""
        known = [self._alone(word, first=i == 0) for i, word in enumerate(words)]
        tags = [tag or self._unknown(words, i) for i, tag in enumerate(known)]
        words, tags = [_EDGE] * 3 + words + [_EDGE] * 3, [_EDGE] * 3 + tags + [_EDGE] * 3
        for i in range(3, len(words) - 3):
            for rule in self.context:
                if rule[0] in (tags[i], "*") and _applies(rule, words, tags, i):
                    tags[i] = rule[1]
        return tags[3:-3]

    def _alone(self, word: str, first: bool) -> str | None:
        """What the lexicon says; a word that only begins a sentence is looked up in lower case too."""
        found = self.lexicon.get(word) or (self.lexicon.get(word.lower()) if first else None)
        return found.split("|")[0] if found else None

    def _unknown(self, words: list[str], i: int) -> str:
        word = words[i]
        if word.istitle():
            return "NNP"
        if word[0].isdigit():
            return "CD"
        before, after = (words[j] if 0 <= j < len(words) else "" for j in (i - 1, i + 1))
        tag = "NN"
        for rule in self.morphology:
            wanted, rule = (rule[0], rule[1:]) if rule[2].startswith("f") else (None, rule)
            if wanted in (None, tag) and self._fits(word, rule[0], rule[1].removeprefix("f"), before, after):
                tag = rule[-2]
        return tag

    def _fits(self, word: str, x: str, rule: str, before: str, after: str) -> bool:
        return {
            "char": x in word,
            "haspref": word.startswith(x),
            "hassuf": word.endswith(x),
            "addpref": x + word in self.lexicon,
            "addsuf": word + x in self.lexicon,
            "deletepref": word.startswith(x) and word[len(x) :] in self.lexicon,
            "deletesuf": word.endswith(x) and word[: -len(x)] in self.lexicon,
            "goodleft": x == after,
            "goodright": x == before,
        }.get(rule, False)


def _applies(rule: list[str], w: list[str], t: list[str], i: int) -> bool:
    """Whether a context rule (from, to, condition, x, y) holds at word i; the names are Brill's."""
    x, y = rule[3], rule[4] if len(rule) > 4 else ""
    name = rule[2].lower()
    near = {"prev": (i - 1, i - 2, i - 3), "next": (i + 1, i + 2, i + 3)}
    if found := re.fullmatch(r"(prev|next)(1or2or3|1or2|2)?(tag|wd)", name):
        at, far, kind = near[found[1]], found[2] or "1", t if found[3] == "tag" else w
        places = {"1": at[:1], "2": at[1:2], "1or2": at[:2], "1or2or3": at}[far]
        return x in [kind[j] for j in places]
    return {
        "surroundtag": x == t[i - 1] and y == t[i + 1],
        "curwd": x == w[i],
        "prevwdtag": x == w[i - 1] and y == t[i - 1],
        "nextwdtag": x == w[i + 1] and y == t[i + 1],
        "wdprevtag": x == t[i - 1] and y == w[i],
        "wdnexttag": x == w[i] and y == t[i + 1],
        "wdand2aft": x == w[i] and y == w[i + 2],
        "wdand2tagbfr": x == t[i - 2] and y == w[i],
        "wdand2tagaft": x == w[i] and y == t[i + 2],
        "lbigram": x == w[i - 1] and y == w[i],
        "rbigram": x == w[i] and y == w[i + 1],
        "prevbigram": x == t[i - 2] and y == t[i - 1],
        "nextbigram": x == t[i + 1] and y == t[i + 2],
    }.get(name, False)


@functools.cache
def tagger() -> Tagger:
    """The tagger with TextBlob's data, fetched once. Raises InputError where they cannot be obtained."""
    folder = _folder()
    lexicon = dict(line.split(" ")[:2] for line in _lines(folder / "en-lexicon.txt"))
    rules = [[line.split() for line in _lines(folder / name)] for name in ("en-morphology.txt", "en-context.txt")]
    return Tagger(lexicon, rules[0], rules[1])


def _folder() -> Path:
    package = cache_dir() / "texts" / TEXTBLOB.requirement.replace("==", "-")
    if not (package / "en").is_dir():
        with lock(cache_dir() / "locks" / "texts.lock", "it is fetching texts"):
            if not (package / "en").is_dir():
                with atomic_directory(package) as directory:
                    obtain(TEXTBLOB, directory / "en")
    return package / "en"


def _lines(path: Path) -> list[str]:
    """The lines of a data file without comments and blank ones."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith(";;;") and len(line.split(" ")) > 1]
