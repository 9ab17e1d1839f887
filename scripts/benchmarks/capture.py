"""`interp.capture` at one site against a plain Hugging Face model cut off after the same block, in turn.

    python scripts/benchmarks/capture.py --rounds 15

Prints, for each number of tokens and layer, the median of both times, the median and the least of the rounds' ratios
in wall and in CPU time, and the ratio for the bridge alone (its blocks run in turn without `interp`): the floor of
anything that reads through the bridge. On a shared machine CPU time moves less than wall time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

sys.path.append(str(Path(__file__).resolve().parents[1]))
from timing import timed

import interp
from interp.hooks import sites
from interp.hooks.partial import StopForward
from interp.models.catalogue import PREPARED, canonical
from interp.models.prepared import prepare


def main() -> None:
    """Run every comparison and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="a prepared model, or a directory")
    parser.add_argument("--tokens", type=int, nargs="+", default=[128, 512, 1024])
    parser.add_argument("--layers", type=int, nargs="+", default=[10, 20])
    parser.add_argument("--rounds", type=int, default=15, help="times each is run, in turn (default 15)")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = interp.load_model(options.model)
    print(f"{options.model}, {torch.get_num_threads()} threads, {options.rounds} rounds")
    for layer in options.layers:
        plain = cut_off(directory_of(options.model), layer)
        for n_tokens in options.tokens:
            compare(model, plain, n_tokens, layer, options.rounds)


def directory_of(name: str) -> str:
    """Where the weights of a prepared model are; any other name is a directory already."""
    prepared = PREPARED.get(canonical(name))
    return name if prepared is None else str(prepare(prepared))


def cut_off(directory: str, layer: int) -> Any:
    """The same weights as a plain Hugging Face model that ends after block `layer`, eager, without a final norm."""
    plain = AutoModelForCausalLM.from_pretrained(directory, attn_implementation="eager", dtype=torch.float32).model
    plain.layers = plain.layers[: layer + 1]
    plain.norm = torch.nn.Identity()
    return plain.eval().requires_grad_(False)


@torch.no_grad()
def compare(model: Any, plain: Any, n_tokens: int, layer: int, rounds: int) -> None:
    """Time all three in turn and print one line."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(int(model.cfg.d_vocab), (1, n_tokens), generator=generator)
    site = sites.resid_post(layer)
    works: list[Callable[[], Any]] = [
        lambda: plain(tokens, use_cache=False).last_hidden_state,
        lambda: interp.capture(model, tokens, site)[site],
        lambda: bridge_alone(model, tokens, layer),
    ]
    theirs, ours, _ = (work() for work in works)  # warm-up
    error = float((theirs - ours).abs().max() / theirs.abs().max())
    spent = [[timed(work) for work in works] for _ in range(rounds)]
    seconds = [statistics.median(round_[i][0] for round_ in spent) for i in range(3)]
    parts = []
    for i, name in ((1, "capture"), (2, "bridge alone")):
        for clock, unit in ((0, "wall"), (1, "CPU")):
            ratios = [round_[i][clock] / round_[0][clock] for round_ in spent]
            parts.append(f"{name} {unit} {statistics.median(ratios):.3f} (least {min(ratios):.3f})")
    times = f"Hugging Face {seconds[0] * 1e3:6.1f} ms, capture {seconds[1] * 1e3:6.1f} ms"
    print(
        f"{n_tokens:5d} tokens, block {layer:2d}: {times}; ratios: {', '.join(parts)}; difference {error:.0e}",
        flush=True,
    )


def bridge_alone(model: Any, tokens: torch.Tensor, layer: int) -> None:
    """The bridge's own forward, ended after the block by a plain torch hook."""

    def stop(*ignored: Any) -> None:
        raise StopForward

    handle = model.blocks[layer].register_forward_hook(stop)
    try:
        model(tokens, use_cache=False)
    except StopForward:
        pass
    finally:
        handle.remove()


if __name__ == "__main__":
    main()
