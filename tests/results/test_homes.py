"""The table of kinds holds exactly the classes that there are, and a fresh process finds them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import torch

from interp.results import Axis, Provenance, Result, Values
from interp.results.homes import HOMES

ROOT = Path(__file__).resolve().parents[2]
DECLARED = re.compile(r'^    kind: ClassVar\[str\] = "([^"]+)"', re.MULTILINE)


def test_the_table_is_what_the_sources_declare() -> None:
    declared = {}
    for file in [*ROOT.glob("interp/**/*.py"), *ROOT.glob("saes/**/*.py")]:
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        declared |= {kind: module for kind in DECLARED.findall(file.read_text()) if kind != "result"}
    assert declared == HOMES


def test_a_fresh_process_gets_the_class_back(tmp_path: Path) -> None:
    values = Values(torch.zeros(2), (Axis("x", (0, 1)),))
    Result(values={"score": values}, settings={}, provenance=Provenance({}, {}, 0, {}, "", "")).save(tmp_path)
    stored = json.loads((tmp_path / "result.json").read_text())
    for kind, expected in (("circuit_report", "CircuitReport"), ("of_somebody_else", "Result")):
        (tmp_path / "result.json").write_text(json.dumps({**stored, "kind": kind}))
        program = "import sys, interp.results as r; x = r.load(sys.argv[1]); print(type(x).__name__, x.kind)"
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [expected, kind]
