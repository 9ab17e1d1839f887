"""Dictionaries on disk against the real SAELens 6.54, in an environment of its own.

    python scripts/check_saelens_format.py                    # both directions; exit code 1 where outputs differ
    python scripts/check_saelens_format.py --make-golden      # also write tests/saes/formats/golden anew

Ours, of every architecture, are saved, loaded by SAELens and applied to the same activations; SAELens's, of every
architecture and as checkpoints, are loaded by `saes.load`. Prints the largest difference of latents and of
reconstructions, whether the same latents are active, and whether SAELens rewrote ("migrated") the configuration. Exit
code 2, with the reason, where the environment cannot be made.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from peer_environments import CannotRun, environment, run_inside
from safetensors.torch import load_file, save_file

import saes

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "saes" / "formats" / "golden"
INSIDE = Path(__file__).resolve().parent / "saelens_side.py"
D_IN, D_SAE, N_TOKENS = 8, 24, 16
TOLERANCE = 1e-5
X = "activations.safetensors"
OUTPUTS = "outputs.safetensors"


def main() -> int:
    """Compare both directions and print a line for each dictionary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, help="where SAELens is or is to be installed (default: the cache)")
    parser.add_argument("--make-golden", action="store_true", help="write the golden files of the tests anew")
    options = parser.parse_args()
    try:
        python = environment("sae-lens", options.environment)
        with tempfile.TemporaryDirectory() as directory:
            differences = compare(python, Path(directory), options.make_golden)
    except CannotRun as error:
        print(f"not run: {error}")
        return 2
    return 1 if differences else 0


def compare(python: Path, directory: Path, make_golden: bool) -> int:
    """How many dictionaries come out differently."""
    ours, theirs = directory / "ours", directory / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    save_file({"x": activations()}, ours / X)
    for name, dictionary in our_dictionaries().items():
        dictionary.save(ours / name)
    print(run_inside(python, INSIDE, str(ours), str(theirs)).strip())
    wrong = 0
    print("ours, read by SAELens")
    for name, dictionary in our_dictionaries().items():
        wrong += not judged(name, dictionary, ours / name / OUTPUTS)
    print("SAELens's, read by ours")
    for folder in sorted(path for path in theirs.iterdir() if path.is_dir()):
        wrong += not judged(folder.name, saes.load(folder), folder / OUTPUTS)
    if make_golden:
        shutil.rmtree(GOLDEN, ignore_errors=True)
        shutil.copytree(theirs, GOLDEN)
        print(f"golden files written to {GOLDEN.relative_to(GOLDEN.parents[3])}")
    print("all outputs agree" if not wrong else f"{wrong} dictionaries come out differently")
    return wrong


@torch.no_grad()
def judged(name: str, dictionary: saes.Dictionary, outputs: Path) -> bool:
    """Print how far our outputs are from SAELens's; whether they are the same."""
    expected = load_file(outputs)
    found = dictionary(expected["x"])
    latents = dictionary.fold().encode(expected["x"])
    off = float((latents - expected["latents"]).abs().max())
    off_by = float((found.reconstruction - expected["reconstruction"]).abs().max())
    same = bool(((latents > 0) == (expected["latents"] > 0)).all())
    migrated = "" if "migrated" not in expected else f", migrated: {'yes' if expected['migrated'].item() else 'no'}"
    print(f"  {name:34s} latents {off:.1e}, reconstruction {off_by:.1e}, same active: {same}{migrated}")
    return same and max(off, off_by) < TOLERANCE and "yes" not in migrated


def activations() -> torch.Tensor:
    """What the dictionaries are applied to."""
    return 2 * torch.randn(N_TOKENS, D_IN, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def our_dictionaries() -> dict[str, saes.Dictionary]:
    """Every architecture, with learned lengths of directions and without, with random weights."""
    found = {}
    for norm in ("unit", "free"):
        for bias in (True, False):
            common = {"decoder_norm": norm, "apply_b_dec_to_input": bias}
            for config in (
                saes.Standard(D_IN, D_SAE, **common),
                saes.TopK(D_IN, D_SAE, k=4, **common),
                saes.BatchTopK(D_IN, D_SAE, k=4, **common),
                saes.JumpReLU(D_IN, D_SAE, target_l0=4, **common),
                saes.Matryoshka(D_IN, D_SAE, k=4, **common),
            ):
                name = f"{config.architecture}-{norm}" + ("" if bias else "-no_bias")
                found[name] = randomised(config.build(torch.Generator().manual_seed(1)), norm == "free")
    return found


def randomised(dictionary: saes.Dictionary, free: bool) -> saes.Dictionary:
    """A dictionary in which nothing is zero, and thresholds differ where they can."""
    generator = torch.Generator().manual_seed(2)
    dictionary.requires_grad_(False)
    for parameter in (dictionary.encoder, dictionary.b_enc, dictionary.b_dec):
        parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    if free:
        dictionary.decoder *= 0.3 + torch.rand(D_SAE, 1, generator=generator)
    threshold = getattr(dictionary, "threshold", None)
    if threshold is not None:
        threshold.copy_(0.4 + torch.rand(threshold.shape, generator=generator))
    dictionary.metadata = {"model_name": "tiny", "hook_name": "blocks.1.hook_resid_post"}
    return dictionary


if __name__ == "__main__":
    sys.exit(main())
