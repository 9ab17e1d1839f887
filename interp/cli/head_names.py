"""Would a head that attends to a name predict it, or suppress it? Name copying (Wang et al. 2022).

Try:
    interp heads names
    interp heads names --reads stream --within 10
    interp heads names --task capitals.jsonl --roles country
    interp heads names --model toy/induction --task induction

The score is the share of names that are among the tokens whose logits the head raises (copies) or lowers (suppresses)
most. The paper finds more than 95 % for the name movers of GPT-2 small, and 12 % for an average head.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from interp import heads
from interp.cli.answering import Several, answering, named_heads
from interp.cli.tasking import TaskOptions, choose_task


@dataclass(frozen=True)
class Config(TaskOptions):
    """Options of `interp heads names`."""

    n: int = 20
    """Prompts of the task; of a file the first so many, or all of them with 0."""
    roles: Several[str] = ()
    """Named positions whose tokens count as names (default: IO, S1 and S2 where there are, else all but end)."""
    within: int = 5
    """Among how many tokens the name has to be."""
    reads: str = "first_block"
    """What a head reads at a name:
    first_block: the stream after block 0, as in the paper;
    embedding: the token's own;
    stream: what stands there when the head's layer begins."""
    top: int = 8
    """Rows of the printed tables."""


def main(config: Config, console: Console | None = None) -> int:
    """Score, print the heads that copy and those that suppress most, keep everything in a run."""
    with answering("heads-names", config, title=f"Name copying of {config.model}", console=console) as a:
        task = choose_task(a, config)
        asked = {"roles": config.roles or None, "top": config.within, "reads": config.reads}
        found = a.step("names", lambda: heads.name_copying(a.model, task, **asked))
        where = f"{', '.join(found.settings['roles'])} of {found.settings['n']} prompts, among {config.within} tokens"
        for sign, average in zip(found.values["average"].axis("sign").labels, found.values["average"].data.tolist()):
            best = named_heads(found.sel(sign=sign).top(config.top))
            a.show(best, f"heads that {_verb(sign)} most ({where}; average head {average:.0%})")
    return 0


def _verb(sign: object) -> str:
    return {"copies": "copy names", "suppresses": "suppress names"}[str(sign)]
