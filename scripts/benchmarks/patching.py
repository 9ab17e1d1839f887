"""`interp.patching.sweep` against TransformerLens's `get_act_patch_*` on IOI prompts, in one process, in turn.

    python scripts/benchmarks/patching.py --rounds 3

Prints, for each activation and corruption, the median of both times, the ratio of the medians, our time over its floor
(the floating-point operations that no exact method can avoid, at this machine's matrix-product rate measured in the
same run), and the largest difference between the two answers as a share of |m(clean) - m(corrupt)|. Ratios of CPU time
are printed beside those of wall time: on a shared machine they move less.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")  # the peer's progress bars

import pandas as pd
import torch
from torch import Tensor
from transformer_lens import patching as peer

import interp
from interp.tasks import PromptPairs

SWEEPS: dict[str, tuple[tuple[str, str], Callable[..., Tensor]]] = {
    "resid_pre": (("layer", "position"), peer.get_act_patch_resid_pre),
    "z": (("layer", "head"), peer.get_act_patch_attn_head_out_all_pos),
}


def main() -> None:
    """Run every comparison and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--n", type=int, default=8, help="IOI prompts (default 8)")
    parser.add_argument("--rounds", type=int, default=3, help="times each is run, in turn (default 3)")
    parser.add_argument("--every", type=int, default=1, help="only every n-th layer, for both (default all)")
    parser.add_argument("--corruptions", nargs="+", default=["abc", "s2"])
    options = parser.parse_args()
    model = interp.load_model(options.model)
    rate = matmul_rate(int(model.cfg.d_model), int(model.cfg.d_mlp))
    print(f"{options.model}, {options.n} prompts, {torch.get_num_threads()} threads, {rate / 1e9:.0f} GFLOP/s fp32")
    for corruption in options.corruptions:
        task = interp.tasks.ioi(model, n=options.n, corruption=corruption, templates=[0], order="BABA")
        layers = list(range(0, int(model.cfg.n_layers), options.every))
        for over in SWEEPS:
            compare(model, task, over, layers, options.rounds, rate)


def compare(model: Any, task: PromptPairs, over: str, layers: list[int], rounds: int, rate: float) -> None:
    """Time both in turn and print one line."""
    by, _ = SWEEPS[over]
    interp.patching.sweep(model, task, over=over, by=by, layers=[0])  # warm-up
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    for _ in range(rounds):
        result, spent = timed(lambda: interp.patching.sweep(model, task, over=over, by=by, layers=layers))
        ours.append(spent)
        patched, spent = timed(lambda: peer_sweep(model, task, over, layers))
        theirs.append(spent)
    corrupt = result.values["corrupt"].data.mean()
    error = float((result.values["effect"].data - (patched - corrupt)).abs().max()) / abs(result.difference)
    wall, cpu = (statistics.median(t[i] for t in theirs) / statistics.median(t[i] for t in ours) for i in (0, 1))
    floor = floor_flops(model, task, over, layers) / rate
    seconds, peer_seconds = statistics.median(t[0] for t in ours), statistics.median(t[0] for t in theirs)
    print(
        f"{over:10s} {task.settings['corruption']:4s} ours {seconds:7.2f} s   peer {peer_seconds:7.2f} s   "
        f"ratio {wall:5.1f}x wall, {cpu:5.1f}x CPU   over floor {seconds / floor:4.1f}   difference {error:.1e}",
        flush=True,
    )


def timed(work: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """What the work returns, and its wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    value = work()
    return value, (time.perf_counter() - wall, time.process_time() - cpu)


@torch.no_grad()
def peer_sweep(model: Any, task: PromptPairs, over: str, layers: list[int]) -> Tensor:
    """The same cells with TransformerLens, clean cache included, as its documentation does it."""
    clean, corrupt = task.clean.as_subclass(Tensor), task.corrupt.as_subclass(Tensor)
    site = {"resid_pre": "hook_resid_pre", "z": "hook_z"}[over]
    _, cache = model.run_with_cache(clean, names_filter=lambda name: name.endswith(site))
    others = range(int(task.lengths[0]) if over == "resid_pre" else int(model.cfg.n_heads))
    cells = pd.DataFrame([(layer, other) for layer in layers for other in others])
    patched = SWEEPS[over][1](
        model, corrupt, cache, lambda logits: task.corrupt_metric(logits).mean(), index_axis_names=None, index_df=cells
    )
    return patched.view(len(layers), len(others))


def matmul_rate(d_model: int, d_mlp: int) -> float:
    """Floating-point operations a second of this model's widest product over 1024 tokens; the best of ten."""
    tokens, weights = torch.randn(1024, d_model), torch.randn(d_mlp, d_model)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        torch.nn.functional.linear(tokens, weights)
        best = min(best, time.perf_counter() - start)
    return 2 * tokens.numel() * d_mlp / best


def floor_flops(model: Any, task: PromptPairs, over: str, layers: list[int]) -> float:
    """Operations of the parts of the patched runs that differ from the unpatched one: later blocks, later positions."""
    cfg = model.cfg
    block_weights = sum(p.numel() for p in model.original_model.get_decoder().layers[0].parameters())
    a_token = 2.0 * block_weights
    end, first = int(task.lengths[0]), int(task.divergence.min())
    a_layer = sum(range(1, end - first + 1)) if over == "resid_pre" else int(cfg.n_heads) * (end - first)
    blocks = sum(int(cfg.n_layers) - layer for layer in layers)
    return a_token * a_layer * len(task) * blocks


if __name__ == "__main__":
    main()
