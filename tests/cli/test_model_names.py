"""Models that do not exist are refused at once, before the libraries that would load them are imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from interp.cli.model_names import check_model_names, given_names
from interp.errors import InputError


def test_names_are_read_in_one_word_and_in_two() -> None:
    assert given_names(["ioi", "--model", "a", "--n", "3", "--model=b/c"]) == ["b/c", "a"]
    assert given_names(["--model"]) == given_names([]) == []


@pytest.mark.parametrize("name", ["smollm2-135m", "SmolLM2-135M", "toy/and", "toy/induction", "./made", "~/x", "/a/b"])
def test_what_may_exist_is_left_to_the_loader(name: str) -> None:
    check_model_names(["--model", name])


def test_an_unknown_toy_is_refused() -> None:
    with pytest.raises(InputError, match="toy/induction"):
        check_model_names(["--model=toy/inductoin"])


@pytest.mark.parametrize("command", [["reproduce", "ioi"], ["nodes"], ["heads", "copying"]])
def test_nothing_slow_is_imported_for_a_refusal(command: list[str]) -> None:
    script = (
        "import sys\nfrom interp.cli.main import main\n"
        f"code = main({[*command, '--model', 'gpt3']!r})\n"
        "print(code, [name for name in ('torch', 'transformers', 'transformer_lens') if name in sys.modules])"
    )
    environment = {"HF_HUB_OFFLINE": "1", "PATH": "", "HOME": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "2 []"
    assert "'gpt3' is not in its cache" in done.stderr
    assert "did you mean 'gpt2'" in done.stderr
