"""What harvesting costs over the truncated forward pass that it cannot do without, in turn.

    python scripts/benchmarks/harvesting.py --layer 15 --rounds 9

In every round, on the same prompts: the model's embedding and blocks up to the site alone (the floor: nothing is read,
kept or checked), `harvest` (which leaves out what does not count and checks for NaN), a stream's whole way through its
shuffle reservoir, and into a shard's buffer. Prints the median time of each, and the median and the least of the
rounds' ratios to the floor, in wall and in CPU time; on a shared machine CPU time moves less. Where the numbers on
disk are wanted too, `--write` stores shards and prints the rate and the bytes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).resolve().parents[1]))
from timing import timed

import interp
import saes
from interp.hooks import partial
from interp.hooks.sites import as_site, resid_post
from saes.activations.harvesting import Harvest, ModelStream
from saes.activations.reading import harvest
from saes.activations.texts import Texts

LIMIT = 1.1
"""What harvesting may cost, in truncated forward passes."""


def main() -> None:
    """Run the comparison and print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--layer", type=int, default=15, help="harvest after this block (default 15)")
    parser.add_argument("--also", nargs="*", default=[], help="further sites, at or before that layer")
    parser.add_argument("--texts", default="sotu")
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--prompts", type=int, default=8, help="prompts a pass (default 8)")
    parser.add_argument("--buffer", type=int, default=16_384, help="tokens of the reservoir")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=9, help="times each is run, in turn (default 9)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", type=int, default=0, metavar="TOKENS", help="also store this many tokens as shards")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = interp.load_model(options.model)
    sites = [str(resid_post(options.layer)), *(str(as_site(name)) for name in options.also)]
    settings = Harvest(options.context, prompts_per_pass=options.prompts, buffer=options.buffer, dtype=options.dtype)
    stream = ModelStream(model, Texts(options.texts), sites, settings)
    print(
        f"{options.model}, {options.prompts} x {options.context} tokens, {', '.join(sites)}; "
        f"{options.threads} threads, {options.rounds} rounds"
    )
    ratios = compare(ways(model, stream, options.layer), options.rounds)
    verdict = "within" if ratios["stream"] <= LIMIT else "OVER"
    print(f"stream over floor, CPU time: {ratios['stream']:.3f}, {verdict} the limit of {LIMIT}")
    if options.write:
        write(model, Texts(options.texts), sites, settings, options.write)


def ways(model: Any, stream: ModelStream, layer: int) -> dict[str, Callable[[], Any]]:
    """What is compared, by name; the floor comes first. All take the same number of prompts."""
    source = stream.source
    n = source.settings.prompts_per_pass

    def tokens() -> torch.Tensor:
        return source.rows.next_rows(n).tokens.to(source.device)

    size = len(source.read(source.rows.next_rows(n)).tokens)
    buffer = {name: torch.zeros(4 * size, width, dtype=source.dtype) for name, width in source.widths.items()}
    places = torch.randperm(4 * size)[:size]

    def into_shard() -> None:
        for name, values in source.next_pass().activations.items():
            buffer[name][places[: len(values)]] = values[: len(places)].to(buffer[name])

    return {
        "floor": torch.no_grad()(lambda: partial.run(model, tokens(), stop=layer + 1)),
        "harvest": lambda: harvest(model, tokens(), source.sites, source.excluded),
        "stream": lambda: stream.next_batch(size),
        "shard": into_shard,
    }


def compare(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Time all in turn, print a line for each, and return the median CPU ratios to the first."""
    for work in works.values():
        work()  # warm-up
    spent = [{name: timed(work) for name, work in works.items()} for _ in range(rounds)]
    floor = next(iter(works))
    found = {}
    for name in works:
        ratios = [[each[name][clock] / each[floor][clock] for each in spent] for clock in (0, 1)]
        found[name] = statistics.median(ratios[1])
        shown = ", ".join(
            f"{clock} {statistics.median(values):.3f} (least {min(values):.3f})"
            for clock, values in zip(("wall", "CPU"), ratios)
        )
        print(f"{name:8s} {statistics.median(each[name][0] for each in spent) * 1e3:8.1f} ms; over floor: {shown}")
    return found


def write(model: Any, texts: Texts, sites: list[str], settings: Harvest, n_tokens: int) -> None:
    """Store shards, read them once through, and print the rates."""
    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        shards = saes.write_shards(
            Path(directory) / "shards", model, texts, sites, n_tokens=n_tokens, harvest=settings, held_out_tokens=0
        )
        seconds = time.perf_counter() - began
        n_bytes = sum(file.n_bytes for file in shards.header.files)
        print(f"written: {len(shards)} tokens, {n_bytes / 1e6:.0f} MB, {len(shards) / seconds:.0f} tokens a second")
        began = time.perf_counter()
        stream = saes.open_shards(shards.directory)
        checked, began = time.perf_counter() - began, time.perf_counter()
        assert stream.n_tokens is not None
        size = min(2048, stream.n_tokens)
        n = max(1, stream.n_tokens // size)
        for _ in range(n):
            stream.next_batch(size)
        seconds = time.perf_counter() - began
        print(f"checked at {n_bytes / checked / 1e9:.2f} GB/s, read at {n * size / seconds:.0f} tokens a second")


if __name__ == "__main__":
    main()
