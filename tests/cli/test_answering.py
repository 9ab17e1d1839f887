"""What the commands share: a run that goes on where it stopped, unless it is to start afresh."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
import torch
from rich.console import Console

from interp.cli.answering import Options, answering
from interp.results import Axis, Result, Values
from interp.runs import provenance


@pytest.mark.parametrize("fresh", [False, True])
def test_an_interrupted_command_goes_on_unless_it_is_to_start_afresh(fresh: bool, tmp_path: Path) -> None:
    computed: list[str] = []

    def measure() -> Result:
        computed.append("once")
        return Result(
            values={"v": Values(torch.zeros(1), (Axis("a", (0,)),))},
            settings={},
            provenance=provenance(model={"id": "made"}, started=datetime.now()),
        )

    def go(options: Options, fails: bool) -> None:
        with answering("test", options, console=Console(quiet=True)) as answer:
            answer.step("one", measure)
            if fails:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(Options(model="toy/induction", out=str(tmp_path)), fails=True)
    go(Options(model="toy/induction", out=str(tmp_path), fresh=fresh), fails=False)
    assert len(computed) == (2 if fresh else 1)
    assert len(list((tmp_path / "test").iterdir())) == (2 if fresh else 1)
