"""The benchmarks run at sizes that say nothing about speed, against ourselves alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.dist
def test_the_benchmark_of_training(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3000, 4, generator=generator) @ torch.randn(4, 16, generator=generator)
    save_file({"x": x}, tmp_path / "x.safetensors")
    sizes = {"libraries": "ours", "widths": 64, "steps": 30, "turn": 10, "batch": 100, "k": 4, "threads": 1}
    options = [part for name, value in sizes.items() for part in (f"--{name}", str(value))]
    script = str(ROOT / "scripts" / "benchmarks" / "dictionary_training.py")
    command = [sys.executable, script, *options, "--seeds", "0", "1"]
    given = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--data", str(tmp_path / "x.safetensors"), "--out", str(tmp_path / "out.json")],
        env=given, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    found = {each["architecture"]: each for each in json.loads((tmp_path / "out.json").read_text())["found"]}
    assert set(found) == {"topk", "batchtopk", "jumprelu", "matryoshka"}
    for architecture, each in found.items():
        ours = each["libraries"]["ours"]
        assert ours["ratio"] == [1.0, 1.0, 1.0]
        assert ours["ms"] > 0
        assert each["floor_ms"]["float32"] > 0
        assert len(ours["explained_variance"]) == 2
        if architecture != "jumprelu":
            assert min(ours["explained_variance"]) > 0.1
            assert max(ours["l0"]) < 4.5
