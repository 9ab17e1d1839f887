"""What SmolLM2's weights say by themselves, and over English text.

    python experiments/smollm2_weights.py

Singular directions as words (all heads, then some heads and one MLP), spectra of the induction and previous-token
heads, which heads compose, the virtual weights between two of them, Hinton diagrams, and weights with their actual
inputs. Every number stands beside its control. Writes a run directory with the results and a report; an interrupted run
goes on where it stopped. About three minutes of processor time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import interp
from interp import heads
from interp.hooks.head_names import all_heads
from interp.results import Result
from interp.runs import Run, open_run
from interp.viz import Report

HEADS = ("18.6", "17.3", "16.0", "23.3", "25.2", "26.2")
WORDS = (
    " red",
    " blue",
    " Paris",
    " London",
    " Monday",
    " Friday",
    " John",
    " Mary",
    " man",
    " woman",
    " they",
    " we",
    " he",
    " she",
)
PAIRS = (("16.0", "18.6", "k"), ("16.0", "17.3", "k"), ("25.2", "26.2", "v"))
IN_CONTEXT = (("18.6", "OV"), ("25.2", "OV"), ("18.6", "QK"), ("m20", "W_gate"), ("m20", "W_out"))
SECTIONS = {
    "all_heads": ("Words of all heads", "OV circuits of all heads: which write, or read, words that stand out?"),
    "directions": (
        "Words of some heads and an MLP",
        "Singular directions, two rows each, and those of random matrices.",
    ),
    "spectra": ("Spectra", "Copying and matching, and the same circuits turned at random."),
    "graph": ("Heads that compose", "Keys one token before the query."),
    "virtual": (
        "Virtual weights of the induction circuit",
        "From the previous-token head into the keys of two others.",
    ),
    "hinton": ("Weights between words", "An induction head, and a head of pronouns."),
    "context": ("Weights with their actual inputs", "40 passages of English, 128 tokens each."),
}


def main() -> None:
    """Compute everything, or load what is there, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--n", type=int, default=40, help="passages")
    parser.add_argument("--n-tokens", type=int, default=128)
    parser.add_argument("--out", default="runs")
    options = parser.parse_args()
    settings = {"model": options.model, "n": options.n, "n_tokens": options.n_tokens, "seed": 0}
    with open_run("smollm2_weights", settings, root=options.out) as run:
        for name, compute in questions(options.model, options.n, options.n_tokens).items():
            run.step(name, compute)
        print(report(run))


def questions(name: str, n: int, n_tokens: int) -> dict[str, Callable[[], Result]]:
    """The steps by name; the model is only read for a step that is not there yet."""

    @cache
    def model() -> Any:
        return interp.load_model(name)

    @cache
    def passages() -> Any:
        return interp.tasks.passage_tokens(model(), n, n_tokens)

    def virtual(source: str, destination: str, kind: str) -> Callable[[], Result]:
        offset = int(kind != "v")
        return lambda: heads.virtual_weights(model(), source, destination, kind, offset=offset)

    def diagram(head: str) -> Callable[[], Result]:
        return lambda: heads.hinton(model(), head, "OV", words=WORDS)

    def context(part: str, matrix: str) -> Callable[[], Result]:
        offset = int(matrix == "QK")
        return lambda: heads.weights_in_context(model(), part, matrix, passages(), offset=offset)

    steps: dict[str, Callable[[], Result]] = {
        "all_heads": lambda: heads.singular_directions(model(), all_heads(model()), "OV", n=2, n_drawn=0),
        "directions": lambda: heads.singular_directions(model(), [*HEADS, "m20"], offset=1),
        "spectra": lambda: heads.decompose(model(), HEADS, offset=1),
        "graph": lambda: heads.composition_graph(model(), offset=1),
    }
    steps |= {f"virtual_{a}_{b}_{kind}": virtual(a, b, kind) for a, b, kind in PAIRS}
    steps |= {f"hinton_{head}": diagram(head) for head in ("18.6", "25.2")}
    return steps | {f"context_{part}_{matrix}": context(part, matrix) for part, matrix in IN_CONTEXT}


def report(run: Run) -> Path:
    """Every figure, and the tables of what is told in words."""
    page = Report("What SmolLM2's weights say")
    section = ""
    for name, found in run.results().items():
        if name.split("_")[0] != section.split("_")[0]:
            section = name
            page.section(*SECTIONS[name if name in SECTIONS else name.split("_")[0]])
        page.add(found)
        for caption, frame in _tables(found):
            page.add(frame, caption=caption)
    return page.write(run.path("report.html"))


def _tables(found: Any) -> list[tuple[str, Any]]:
    """What a result tells in tables."""
    if found.kind == "spectra":
        words = (
            "Scores, and 95 % of those of the turned circuits; mean over words removed. QK for a key 1 token before. "
        )
        return [(words + " ".join(found.findings()), found.summary())]
    if found.kind == "singular_directions":
        words = "Directions that stand out more than 95 % of those of random matrices, where 5 % would by chance"
        return [
            (
                f"{words}; {'all heads' if len(found.values['best'].data) > 100 else 'chosen heads'}.",
                found.standing_out(),
            )
        ]
    if found.kind == "composition_graph":
        return [("Pairs of heads that pass each test.", found.counts()), ("The strongest edges.", found.edges(20))]
    if found.kind == "virtual_weights":
        return [
            (f"Beside random turns of what the first head writes. {found.verdict()}", found.beside_turns()),
            ("The largest entries over all pairs of words, the extremes only.", found.pairs()),
        ]
    if found.kind == "weights_in_context":
        return [
            ("Singular directions, largest first, that carry half and 90 %.", found.summary()),
            ("Places furthest along the directions that carry most.", found.examples(2)),
        ]
    return []


if __name__ == "__main__":
    main()
