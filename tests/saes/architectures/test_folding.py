"""What folds away on saving changes no output: decoder lengths, input normalisation, the training form."""

from __future__ import annotations

import pytest
import torch

from interp.errors import InputError
from saes.architectures import BatchTopK, Dictionary, DictionaryConfig, JumpReLU, Matryoshka, Standard, TopK, as_config
from saes.architectures.normalisation import KINDS, fit_normalisation

D_IN, D_SAE = 16, 80


def configs(norm: str = "unit", bias: bool = True) -> list[DictionaryConfig]:
    common = {"decoder_norm": norm, "apply_b_dec_to_input": bias}
    return [
        Standard(D_IN, D_SAE, **common),
        TopK(D_IN, D_SAE, k=5, **common),
        BatchTopK(D_IN, D_SAE, k=5, **common),
        JumpReLU(D_IN, D_SAE, **common),
        Matryoshka(D_IN, D_SAE, k=5, **common),
    ]


def trained(config: DictionaryConfig) -> Dictionary:
    generator = torch.Generator().manual_seed(3)
    d = config.build(generator)
    with torch.no_grad():
        d.encoder += 0.2 * torch.randn(d.encoder.shape, generator=generator)
        d.b_enc += 0.2 * torch.randn(d.b_enc.shape, generator=generator)
        d.b_dec += torch.randn(d.b_dec.shape, generator=generator)
        if config.decoder_norm == "free":
            d.decoder *= 0.3 + torch.rand(D_SAE, 1, generator=generator)
        if isinstance(config, JumpReLU):
            d.threshold.add_(torch.rand(D_SAE, generator=generator))
        elif isinstance(config, BatchTopK):
            d.threshold.fill_(0.8)
    return d.requires_grad_(False)


def activations() -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(200, D_IN, generator=generator) * torch.linspace(0.5, 3, D_IN) + torch.linspace(-2, 5, D_IN)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", ["unit", "free"])
@pytest.mark.parametrize("which", range(5))
def test_folding_keeps_every_output(which: int, norm: str, bias: bool) -> None:
    d, x = trained(configs(norm, bias)[which]), activations()
    plain = d.fold()
    torch.testing.assert_close(plain(x).reconstruction, d(x).reconstruction, rtol=1e-4, atol=1e-4)
    assert torch.equal(plain.encode(x) > 0, d.encode(x) > 0)
    torch.testing.assert_close(plain.decoder.norm(dim=1), torch.ones(D_SAE))
    assert plain.config.architecture in ("standard", "topk", "jumprelu")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", range(5))
def test_normalisation_folds_away(which: int, kind: str, bias: bool) -> None:
    d, x = trained(configs("unit", bias)[which]), activations()
    normalisation = fit_normalisation(kind, x.mean(0), x.T @ x / len(x))
    normal = normalisation.apply(x)
    out = d(normal)
    # What the reconstruction of the normalised activations means for the activations themselves.
    inverse = normalisation.inverse if normalisation.inverse is not None else torch.eye(D_IN) / normalisation.scale
    expected = out.reconstruction @ inverse + normalisation.mean
    folded = normalisation.fold_into(d)
    torch.testing.assert_close(folded(x).reconstruction, expected, rtol=2e-4, atol=2e-4)
    assert ((folded.encode(x) > 0) == (out.latents > 0)).float().mean() > 0.999


def test_what_normalisation_makes_of_activations() -> None:
    x = activations()
    moments = x.mean(0), x.T @ x / len(x)
    assert fit_normalisation("norm", *moments).apply(x).square().sum(1).mean() == pytest.approx(D_IN, rel=1e-4)
    centred = fit_normalisation("mean-norm", *moments).apply(x)
    torch.testing.assert_close(centred.mean(0), torch.zeros(D_IN), atol=1e-4, rtol=0)
    assert centred.square().sum(1).mean() == pytest.approx(D_IN, rel=1e-4)
    white = fit_normalisation("whiten", *moments).apply(x)
    torch.testing.assert_close(white.T @ white / len(x), torch.eye(D_IN), atol=0.02, rtol=0)
    with pytest.raises(InputError, match="there is no normalisation"):
        fit_normalisation("layer", *moments)


def test_batchtopk_at_inference_does_not_look_at_other_tokens() -> None:
    d, x = trained(configs()[2]), activations()
    torch.testing.assert_close(d.encode(x[:1]), d.encode(x)[:1])


@pytest.mark.parametrize("config", configs(), ids=lambda config: config.architecture)
def test_a_configuration_is_its_plain_values(config: DictionaryConfig) -> None:
    assert as_config(config.to_dict()) == config
    with pytest.raises(InputError, match=r"there is no key of .*'d_see'; did you mean 'd_sae'"):
        as_config(config.to_dict() | {"d_see": 3})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TopK(8, 16, k=17), "k is the number of active latents, from 1 to d_sae = 16, not 17"),
        (lambda: TopK(0, 16, k=1), "d_in is a number of dimensions"),
        (lambda: JumpReLU(8, 16, sparsity_loss="l0"), "there is no sparsity_loss 'l0'"),
        (lambda: Matryoshka(8, 16, k=2, prefixes=(8, 4)), "prefixes ascend"),
        (lambda: Standard(8, 16, decoder_norm="loose"), "decoder_norm is"),
        (lambda: as_config({"architecture": "topkk"}), "there is no architecture 'topkk'; did you mean 'topk'"),
        (lambda: as_config({"architecture": "topk", "d_in": 3}), "topk needs d_in and d_sae"),
        (lambda: TopK(8, 16, k=2).build()(torch.zeros(3, 9)), "activations of width 8, these have 9"),
    ],
)
def test_bad_input_is_one_sentence(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_a_seed_decides_the_start() -> None:
    one, other = (TopK(D_IN, D_SAE, k=5).build(torch.Generator().manual_seed(s)) for s in (7, 8))
    again = TopK(D_IN, D_SAE, k=5).build(torch.Generator().manual_seed(7))
    assert torch.equal(one.decoder, again.decoder)
    assert not torch.equal(one.decoder, other.decoder)
    torch.testing.assert_close(one.W_enc, one.W_dec.T)
