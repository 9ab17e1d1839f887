"""Training dictionaries: ours against SAELens 6.54, dictionary_learning and sparsify, each in its own environment.

    python scripts/benchmarks/dictionary_training.py --widths 6144 --steps 300 --seeds 0 1 2 --out benchmark.json
    python scripts/benchmarks/dictionary_training.py --widths 24576 --steps 40 --seeds 0       # times, not quality

Every library trains the same dictionary on the same batches (a file of fixed-seed activations, or `--data`), a few
steps in turn, so that each round gives a ratio under one load of the machine. Prints, for each width and architecture:

    ms a step       median over rounds, the first left out
    times ours      median of the rounds' ratios (least to largest), in wall time
    whole run       ratio of the sums over all steps; for JumpReLU the one to quote, since its support varies
    late            median of the last third of the rounds
    over floor      ours over the encoder's product at the rate that the machine reaches in the same rounds
    EV, L0, dead    of the finished dictionaries, by this project's formulas, on activations none was trained on; mean
                    and range over seeds. BatchTopK and Matryoshka dictionaries are measured with the one threshold that
                    gives k active latents a token there: libraries' running thresholds settle at different paces.

All begin with directions of length 1, and JumpReLU with the threshold over which k latents lie: a short training that
begins with half of them active ends nowhere near the L0 that is asked for. The rest is every library's own default.

A peer that cannot be installed is named and left out. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

sys.path.append(str(Path(__file__).resolve().parents[1]))
from peer_environments import CannotRun, bare_environment, environment

import saes
from interp.runs import atomic_write, cache_dir
from saes.evals.fidelity import fidelity
from saes.evals.firing import firing_measures
from saes.evals.known_features import KnownFeatures

WORKER = Path(__file__).resolve().parents[1] / "dictionary_worker.py"
ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURES = ("topk", "batchtopk", "jumprelu", "matryoshka")
LIBRARIES = ("ours", "sae-lens", "sae-lens-autocast", "dictionary-learning", "sparsify")
TARGETS = {
    ("topk", "sae-lens"): 5.0,
    ("topk", "sae-lens-autocast"): 2.5,
    ("topk", "dictionary-learning"): 7.0,
    ("topk", "sparsify"): 2.5,
    ("batchtopk", "sae-lens"): 3.5,
    ("jumprelu", "sae-lens"): 3.5,
    ("matryoshka", "sae-lens"): 3.5,
}
"""How many times faster than a library's a step is to be."""
HELD_OUT = 16_384
"""Tokens at the end of the data that no batch has."""


def main() -> None:
    """Run everything asked for, printing a table as each training ends."""
    options = parsed()
    data = options.data or known_activations(options.d_in, options.tokens, options.features)
    workers = {name: Worker(name, python, options.threads) for name, python in available(options.libraries).items()}
    try:
        with tempfile.TemporaryDirectory() as directory:
            train, held_out = split(data, Path(directory))
            found = []
            for width, architecture in itertools.product(options.widths, options.architectures):
                runs = []
                for seed in options.seeds:
                    task = task_of(options, width, architecture, seed, train)
                    kept = Path(directory) / f"{width}-{architecture}-{seed}"
                    runs.append(contest(workers, task, options.turn, kept, held_out))
                found.append({"width": width, "architecture": architecture, **summary(runs)})
                show(found[-1], len(options.seeds))
                if options.out:
                    told = {"options": {name: str(value) for name, value in vars(options).items()}, "found": found}
                    atomic_write(options.out, json.dumps(told, indent=1) + "\n")
    finally:
        for worker in workers.values():
            worker.end()


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[6144, 24576])
    parser.add_argument("--architectures", nargs="+", default=list(ARCHITECTURES), choices=ARCHITECTURES)
    parser.add_argument("--libraries", nargs="+", default=list(LIBRARIES), choices=LIBRARIES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300, help="steps of a training (default 300)")
    parser.add_argument("--turn", type=int, default=5, help="steps a library does in its turn (default 5)")
    parser.add_argument("--batch", type=int, default=1024, help="tokens a step (default 1024)")
    parser.add_argument("--k", type=int, default=32, help="active latents; JumpReLU's target L0 (default 32)")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--bandwidth", type=float, default=0.1, help="of JumpReLU's thresholds, in all libraries")
    parser.add_argument("--coefficient", type=float, help="of JumpReLU's L0 loss (default: d_in)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, help="a safetensors file with x [tokens, d_in]; default: known features")
    parser.add_argument("--d-in", type=int, default=768)
    parser.add_argument("--features", type=int, default=4096, help="known features in the data (default 4096)")
    parser.add_argument("--tokens", type=int, default=200_000, help="tokens of the data (default 200000)")
    parser.add_argument("--out", type=Path, help="also write the numbers to this file, as JSON")
    return parser.parse_args()


def known_activations(d_in: int, n_tokens: int, n_features: int) -> Path:
    """A file of activations made of known features, the same every time; centred, with a mean square norm of d_in."""
    path = cache_dir() / "benchmarks" / f"known-features-{n_features}-{d_in}-{n_tokens}-apart.safetensors"
    if path.is_file():
        return path
    print(f"making {n_tokens} activations of {n_features} known features", flush=True)
    trees = {"n_trees": n_features // 40, "branching": 3, "depth": 3}
    world = KnownFeatures(n_features, d_in, l0=min(32.0, n_features / 8), noise=0.02, **trees).build()
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([world.sample(min(4096, n_tokens - i), generator).x for i in range(0, n_tokens, 4096)])
    x -= x.mean(0)
    x *= (d_in / x.square().sum(1).mean()) ** 0.5
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    save_file({"x": x}, unfinished)
    unfinished.rename(path)
    return path


def split(data: Path, directory: Path) -> tuple[Path, torch.Tensor]:
    """A file with what is trained on, and the held-out activations."""
    with safe_open(data, "pt") as file:
        x = file.get_tensor("x").float()
    n_held = min(HELD_OUT, len(x) // 5)
    save_file({"x": x[:-n_held].contiguous()}, directory / "train.safetensors")
    return directory / "train.safetensors", x[-n_held:].clone()


def available(libraries: Sequence[str]) -> dict[str, Path]:
    """The Python of every library that can be run."""
    found = {}
    for name in libraries:
        try:
            found[name] = Path(sys.executable) if name == "ours" else environment(name.removesuffix("-autocast"))
        except CannotRun as error:
            print(f"left out: {error}", flush=True)
    return found


def task_of(options: argparse.Namespace, width: int, architecture: str, seed: int, train: Path) -> dict[str, Any]:
    """What every library is told."""
    with safe_open(train, "pt") as file:
        d_in = file.get_slice("x").get_shape()[1]
    return {
        "architecture": architecture,
        "d_in": d_in,
        "d_sae": width,
        "k": options.k,
        "seed": seed,
        "n_steps": options.steps,
        "batch_size": options.batch,
        "lr": options.lr,
        "prefixes": [width // 16, width // 8, width // 4, width // 2, width],
        "coefficient": options.coefficient or float(d_in),
        "bandwidth": options.bandwidth,
        # Directions and activations begin as random as they are: h is standard normal, and k latents lie over this.
        "threshold": float(torch.special.ndtri(torch.tensor(1 - options.k / width))),
        "data": str(train),
    }


class Worker:
    """A library's process; it works while it is asked and waits otherwise."""

    def __init__(self, name: str, python: Path, threads: int) -> None:
        self.name = name
        given = bare_environment(threads) | ({"PYTHONPATH": str(ROOT)} if name == "ours" else {})
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in `end`)
        self.process = subprocess.Popen(
            [str(python), str(WORKER), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=given,
            text=True,
        )

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        """Give a command and wait for the answer. Raises CannotRun with the library's last words when it fails."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = ""
        try:
            self.process.stdin.write(json.dumps({"do": do, **values}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            pass
        if not line:
            self.process.wait()
            self.errors.seek(0)
            raise CannotRun(f"{self.name} failed: {self.errors.read().strip()[-1500:]}")
        return json.loads(line)

    def end(self) -> None:
        """Let the process go."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.errors.close()


def contest(
    workers: dict[str, Worker], task: dict[str, Any], turn: int, kept: Path, held_out: torch.Tensor
) -> dict[str, Any]:
    """One training of every library, a few steps in turn: seconds a step by round, the floor, and what came out."""
    here = {name: worker for name, worker in workers.items() if name != "sparsify" or task["architecture"] == "topk"}
    described = {name: worker.ask("begin", library=name, **task)["described"] for name, worker in here.items()}
    rounds: list[dict[str, float]] = []
    floors: list[dict[str, float]] = []
    for start in range(0, task["n_steps"], turn):
        n = min(turn, task["n_steps"] - start)
        rounds.append({name: worker.ask("steps", n=n)["wall"] / n for name, worker in here.items()})
        if "ours" in here:
            floors.append(here["ours"].ask("floor", n=n))
    quality = {}
    for name, worker in here.items():
        worker.ask("save", path=str(kept / name))
        quality[name] = measured(kept / name, task, held_out)
    return {"described": described, "rounds": rounds, "floors": floors, "quality": quality}


@torch.no_grad()
def measured(path: Path, task: dict[str, Any], held_out: torch.Tensor) -> dict[str, float]:
    """Explained variance, L0 and dead share of a finished dictionary."""
    dictionary = saes.load(path)
    if task["architecture"] in ("batchtopk", "matryoshka"):
        some = dictionary.pre_activations(held_out[:4096])
        dictionary.threshold.fill_(some.flatten().topk(task["k"] * len(some)).values[-1].clamp_min(0.0))  # type: ignore[operator, union-attr]
    found = fidelity(dictionary, held_out)
    measures = found.measures()
    dead = firing_measures(found.firing)["dead"]
    return {"explained_variance": measures["explained_variance"], "l0": measures["l0"], "dead": dead}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians and ranges over the rounds and seeds of one width and architecture."""
    told: dict[str, Any] = {"described": runs[0]["described"], "libraries": {}}
    rounds = [each for run in runs for each in (run["rounds"][1:] or run["rounds"])]
    late = [each for run in runs for each in run["rounds"][-max(1, len(run["rounds"]) // 3) :]]
    for name in runs[0]["described"]:
        ratios = [each[name] / each["ours"] for each in rounds if "ours" in each]
        total = [sum(each[who] for run in runs for each in run["rounds"]) for who in (name, "ours") if who in rounds[0]]
        quality = {key: [run["quality"][name][key] for run in runs] for key in ("explained_variance", "l0", "dead")}
        told["libraries"][name] = {
            "ms": 1e3 * statistics.median(each[name] for each in rounds),
            "late_ms": 1e3 * statistics.median(each[name] for each in late),
            "ratio": [statistics.median(ratios), min(ratios), max(ratios)] if ratios else None,
            "whole_run": total[0] / total[-1],
            "late_ratio": statistics.median(each[name] / each["ours"] for each in late) if ratios else None,
            **quality,
        }
    floors = [each for run in runs for each in run["floors"]]
    told["floor_ms"] = {
        name: 1e3 * statistics.median(each[name] for each in floors) for name in ("float32", "bfloat16") if floors
    }
    return told


def show(found: dict[str, Any], n_seeds: int) -> None:
    """Print what was found for a width and an architecture."""
    architecture = found["architecture"]
    print(f"\n{architecture}, {found['width']} latents, {n_seeds} seeds; ours: {found['described'].get('ours')}")
    for name, told in found["libraries"].items():
        line = f"  {name:20s} {told['ms']:8.1f} ms a step"
        if name != "ours" and told["ratio"]:
            middle, least, most = told["ratio"]
            line += f", {middle:5.2f} times ours ({least:.2f} to {most:.2f}), whole run {told['whole_run']:.2f}"
            line += f", late {told['late_ratio']:.2f}"
            target = TARGETS.get((architecture, name))
            reached = told["whole_run"] if architecture == "jumprelu" else middle
            if target:
                line += f"; target {target}: {'met' if reached >= target else 'MISSED'}"
        print(line)
        parts = [f"{key} {spread(told[key])}" for key in ("explained_variance", "l0", "dead")]
        print(f"  {'':20s} {', '.join(parts)}")
    if "ours" in found["libraries"] and found["floor_ms"]:
        ours = found["libraries"]["ours"]["late_ms"]
        parts = [f"{name} {ms:.1f} ms ({ours / ms:.2f} times)" for name, ms in found["floor_ms"].items()]
        print(f"  floor, the encoder's product: {', '.join(parts)}", flush=True)


def spread(values: list[float]) -> str:
    """Mean, and the range where there are several."""
    mean = f"{statistics.mean(values):.4g}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.4g} to {max(values):.4g})"


if __name__ == "__main__":
    main()
