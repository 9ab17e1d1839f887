"""CKA of all pairs of layers against its floor: one forward pass and the bare matrix products, in turn.

    python scripts/benchmarks/similarity.py --rounds 3

The floor holds nothing but what cannot be left out: the bridge's own forward pass over the tokens without `interp`,
ended after the last block, and the Gram products of all pairs on whole tensors that are there already, in the cheaper
of the two ways of `interp.similarity.kernel_sums` (both are timed): the kernels of pairs of documents and their inner
products, or a d × d cross-product for every pair of layers. Ours reads the texts, centres, sums by document, and
gives the map with an interval for every pair; the permutation test is timed on its own. Prints CPU seconds and, for
each round, the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import interp
from interp.hooks.partial import StopForward
from interp.similarity import compare, represent
from interp.similarity.reading import PASS_TOKENS


def main() -> None:
    """Time floor and ours in turn, print every round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--documents", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=251, help="of each document, the first of which is not compared")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = interp.load_model(options.model)
    generator = torch.Generator().manual_seed(0)
    if model.tokenizer is None:
        tokens = torch.randint(int(model.cfg.d_vocab), (options.documents, options.tokens), generator=generator)
    else:
        tokens = interp.tasks.passage_tokens(model, options.documents, options.tokens)
    tokens = tokens.as_subclass(Tensor)
    interp.models.identity(model)  # hashed once a model, which is not what is measured
    read = represent(model, tokens, drop_outliers=False)
    print(f"{options.model}: {len(read.first)} sites, {read.n} tokens, {torch.get_num_threads()} threads", flush=True)
    ratios = [round_(model, tokens, read) for _ in range(options.rounds)]
    print(f"median ratio to the floor: {statistics.median(ratios):.2f} (least {min(ratios):.2f})")
    small = represent(model, tokens[:, :14])  # as many tokens as the test takes: its cost without that of the map
    test, _ = timed(lambda: compare(small, "cka", n_resamples=0))
    without, _ = timed(lambda: compare(small, "cka", n_resamples=0, n_permutations=0))
    print(f"200 permutations of all pairs: {test - without:.1f} s more")


def round_(model: Any, tokens: Tensor, read: Any) -> float:
    """One round: the parts of the floor, and ours."""
    forward, _ = timed(lambda: bare_forward(model, tokens))
    stacked, length = torch.stack(read.first), tokens.shape[1] - 1
    blocks, map_of_blocks = timed(lambda: block_products(stacked, length))
    features, map_of_features = timed(lambda: feature_products(stacked))
    del stacked
    assert torch.allclose(map_of_blocks, map_of_features, rtol=1e-3)
    ours, found = timed(lambda: compare(represent(model, tokens), "cka", n_permutations=0))
    floor = forward + min(blocks, features)
    print(
        f"forward {forward:.1f} s, products {blocks:.1f} s or {features:.1f} s, floor {floor:.1f} s; "
        f"ours {ours:.1f} s ({found.settings['n']} tokens): {ours / floor:.2f} times",
        flush=True,
    )
    return ours / floor


@torch.no_grad()
def bare_forward(model: Any, tokens: Tensor) -> None:
    """The bridge's blocks over all tokens, in passes as large as ours, ended by a plain torch hook."""

    def stop(*ignored: Any) -> None:
        raise StopForward

    handle = model.blocks[-1].register_forward_hook(stop)
    try:
        for rows in tokens.split(max(1, PASS_TOKENS // tokens.shape[1])):
            try:
                model(rows, use_cache=False)
            except StopForward:
                continue
    finally:
        handle.remove()


def block_products(x: Tensor, length: int) -> Tensor:
    """Inner products of all pairs of kernels, a pair of documents at a time: nothing but the matrix products."""
    n = x.shape[1]
    total = x.new_zeros(len(x), len(x))
    kernels = x.new_empty(len(x), length, length)
    for a in range(0, n, length):
        for b in range(a, n, length):
            for i in range(len(x)):
                torch.mm(x[i, a : a + length], x[i, b : b + length].T, out=kernels[i])
            flat = kernels.view(len(x), -1)
            total += flat @ flat.T if a == b else 2 * (flat @ flat.T)
    return total


def feature_products(x: Tensor) -> Tensor:
    """The same numbers from the cross-products of features."""
    total = x.new_zeros(len(x), len(x))
    for i in range(len(x)):
        for j in range(i, len(x)):
            total[i, j] = total[j, i] = (x[i].T @ x[j]).square().sum()
    return total


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a call, and its result: on a shared machine wall time says little."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


if __name__ == "__main__":
    main()
