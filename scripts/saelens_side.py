"""What `check_saelens_format.py` does inside SAELens's environment; imports nothing of this project.

    python saelens_side.py OURS THEIRS

Reads every dictionary in OURS with SAELens and writes beside it what SAELens makes of the activations in OURS; writes
dictionaries of every architecture to THEIRS with the same beside them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import sae_lens
import torch
from sae_lens import SAE
from sae_lens.loading import pretrained_sae_loaders
from safetensors.torch import load_file, save_file

X, OUTPUTS = "activations.safetensors", "outputs.safetensors"
MIGRATIONS: list[str] = []


def main(ours: Path, theirs: Path) -> None:
    """Read the one folder, fill the other."""
    print(f"sae-lens {sae_lens.__version__}, torch {torch.__version__}")
    watch_migrations()
    x = load_file(ours / X)["x"]
    for folder in sorted(path for path in ours.iterdir() if path.is_dir()):
        MIGRATIONS.clear()
        dictionary = SAE.load_from_disk(folder)
        write_outputs(dictionary, x, folder, migrated=torch.tensor(bool(MIGRATIONS)))
    for name, dictionary, as_checkpoint in their_dictionaries(x.shape[1]):
        (dictionary.save_model if as_checkpoint else dictionary.save_inference_model)(theirs / name)
        with tempfile.TemporaryDirectory() as plain:
            dictionary.save_inference_model(plain)
            write_outputs(SAE.load_from_disk(plain), x, theirs / name)


def watch_migrations() -> None:
    """Note when SAELens takes a configuration for one from before version 6."""
    migrate = pretrained_sae_loaders.handle_pre_6_0_config

    def noted(config: dict) -> dict:
        MIGRATIONS.append(str(config.get("architecture")))
        return migrate(config)

    pretrained_sae_loaders.handle_pre_6_0_config = noted


@torch.no_grad()
def write_outputs(dictionary: SAE, x: torch.Tensor, folder: Path, **more: torch.Tensor) -> None:
    """Activations, latents and reconstructions."""
    latents = dictionary.encode(x)
    found = {"x": x, "latents": latents, "reconstruction": dictionary.decode(latents), **more}
    save_file({name: value.contiguous() for name, value in found.items()}, folder / OUTPUTS)


def their_dictionaries(d_in: int, d_sae: int = 24) -> list[tuple[str, SAE, bool]]:
    """(name, training SAE, whether to save it as a checkpoint), of every architecture that this project has."""
    from sae_lens import saes

    sizes = {"d_in": d_in, "d_sae": d_sae}
    top = {**sizes, "k": 4}
    wanted = [
        ("standard", saes.StandardTrainingSAE, saes.StandardTrainingSAEConfig(**sizes), False),
        ("standard-no_bias", saes.StandardTrainingSAE,
         saes.StandardTrainingSAEConfig(**sizes, apply_b_dec_to_input=False), False),
        ("topk", saes.TopKTrainingSAE, saes.TopKTrainingSAEConfig(**top), False),
        ("topk-unscaled", saes.TopKTrainingSAE,
         saes.TopKTrainingSAEConfig(**top, rescale_acts_by_decoder_norm=False), False),
        ("topk-checkpoint", saes.TopKTrainingSAE, saes.TopKTrainingSAEConfig(**top), True),
        ("batchtopk", saes.BatchTopKTrainingSAE, saes.BatchTopKTrainingSAEConfig(**top), False),
        ("batchtopk-checkpoint", saes.BatchTopKTrainingSAE, saes.BatchTopKTrainingSAEConfig(**top), True),
        ("jumprelu", saes.JumpReLUTrainingSAE, saes.JumpReLUTrainingSAEConfig(**sizes), False),
        ("jumprelu-checkpoint", saes.JumpReLUTrainingSAE, saes.JumpReLUTrainingSAEConfig(**sizes), True),
        ("matryoshka_batchtopk", saes.MatryoshkaBatchTopKTrainingSAE,
         saes.MatryoshkaBatchTopKTrainingSAEConfig(**top, matryoshka_widths=[6, 24]), False),
    ]  # fmt: skip
    return [(name, randomised(kind(config), number), checkpoint)
            for number, (name, kind, config, checkpoint) in enumerate(wanted)]  # fmt: skip


@torch.no_grad()
def randomised(dictionary: SAE, seed: int) -> SAE:
    """Random weights, in which nothing is zero and directions differ in length."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in dictionary.named_parameters():
        parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
        if name == "threshold":
            parameter.abs_()
    if hasattr(dictionary, "topk_threshold"):
        dictionary.topk_threshold.fill_(0.7)
    dictionary.cfg.metadata.model_name = "tiny"
    dictionary.cfg.metadata.hook_name = "blocks.1.hook_resid_post"
    return dictionary


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:3]))
