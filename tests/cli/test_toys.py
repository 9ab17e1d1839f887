"""Every toy can be named on the command line, with its own prompts."""

from __future__ import annotations

import pytest

from interp.cli.main import main
from interp.models.toy import TOYS, toy_module


@pytest.mark.parametrize("name", list(TOYS))
def test_patching_a_toy(name, tmp_path, capsys):
    assert main(["patch", "--model", name, "--task", "toy", "--n", "2", "--out", str(tmp_path)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    total = toy_module(name).TRUTH.total
    assert total is None or f"m(clean) - m(corrupt) = {total:.2f}" in printed
