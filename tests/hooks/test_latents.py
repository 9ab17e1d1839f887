"""Latents of a codec as sites: exact when unedited, written where the codec says, with the right gradients."""

from __future__ import annotations

import pytest
import torch

import interp
from interp.errors import InputError
from interp.hooks import sites
from interp.hooks.latents import Codec, LatentSite
from interp.hooks.readout import Readout
from tests.hooks.watching import traces
from tests.oracles.plain_forward import llama_logits
from tests.tiny_models import plain_llama, random_tokens, tiny

TOKENS = random_tokens(n_rows=2, n_pos=6)
READOUT = Readout(torch.tensor([[5], [5]]), torch.tensor([[10, 11], [20, 21]]))


class Rotation:
    """An orthogonal change of basis: loses nothing."""

    reads = writes = "resid_post"

    def __init__(self):
        self.basis = torch.linalg.qr(torch.randn((48, 48), generator=torch.Generator().manual_seed(0)))[0]

    def encode(self, x):
        return x @ self.basis

    def decode(self, latents):
        return latents @ self.basis.T


class Sparse:
    """A dictionary with random weights: loses most of what it reads."""

    def __init__(self, reads="resid_post", writes="resid_post", d_latent=20):
        self.reads, self.writes = reads, writes
        generator = torch.Generator().manual_seed(1)
        self.w_in, self.w_out = (
            torch.randn(shape, generator=generator) / 7 for shape in ((48, d_latent), (d_latent, 48))
        )
        self.bias = torch.randn(d_latent, generator=generator)

    def encode(self, x):
        return (x @ self.w_in + self.bias).relu()

    def decode(self, latents):
        return latents @ self.w_out + 0.3


class Identity:
    reads = writes = "resid_post"

    def encode(self, x):
        return x

    def decode(self, latents):
        return latents


@pytest.fixture
def model():
    return tiny("llama")


@pytest.fixture(params=["residual", "transcoder"])
def lossy(request):
    """A dictionary of the residual stream, and one that reads what the MLP reads and writes what it writes."""
    if request.param == "residual":
        return Sparse(), sites.resid_post(1), sites.resid_post(1)
    return Sparse("mlp_in", "mlp_out"), sites.mlp_in(1), sites.mlp_out(1)


def by_hand(edit_at):
    """Logits of the plain Llama with (kind, layer) -> new value."""
    with torch.no_grad():
        return llama_logits(plain_llama(), TOKENS, lambda kind, layer, x: edit_at.get((kind, layer), lambda v: v)(x))


def test_the_protocol():
    assert isinstance(Rotation(), Codec)
    assert not isinstance(object(), Codec)


def test_capture_reads_the_latents(model, lossy):
    codec, reads, _ = lossy
    site = LatentSite(reads, codec)
    found = interp.capture(model, TOKENS, [site, reads])
    assert torch.equal(found[site], codec.encode(found[reads]))
    assert interp.capture(model, TOKENS, site, positions=[1, 3])[site].shape == (2, 2, 20)
    assert torch.equal(interp.capture(model, TOKENS, site, positions=3)[site], codec.encode(found[reads][:, 3]))


def test_captured_latents_share_no_memory_with_the_model(model):
    site = LatentSite(sites.resid_post(0), Identity())
    logits = model(TOKENS)

    def capture_and_overwrite(value):
        interp.hooks.capturing._read(value, site, None).zero_()

    with interp.hooks.partial.hooked(sites.hook_point(model, sites.resid_post(0)), capture_and_overwrite):
        assert torch.equal(model(TOKENS), logits)


def test_unedited_latents_leave_the_logits_exactly_as_they_were(model, lossy):
    codec, reads, _ = lossy
    site = LatentSite(reads, codec, error="keep")
    logits = model(TOKENS)
    own = interp.capture(model, TOKENS, site)
    for unedited in (interp.scale(site, 1.0), interp.patch(site, own), interp.steer(site, torch.zeros(20))):
        with interp.intervene(model, unedited):
            assert torch.equal(model(TOKENS), logits)


def test_keeping_the_error_adds_the_change_of_the_decoded_latents(model, lossy):
    codec, reads, writes = lossy
    held = {}

    def note(x):
        held["x"] = x
        return x

    def add_change(x):
        latents = codec.encode(held["x"] if writes != reads else x)
        edited = latents.clone()
        edited[..., 3] = 0
        edited[..., 5] *= 1  # unchanged
        return x + codec.decode(edited) - codec.decode(latents)

    edits = {(writes.kind, 1): add_change} | ({(reads.kind, 1): note} if writes != reads else {})
    with interp.intervene(model, interp.ablate(LatentSite(reads, codec), units=[3])):
        torch.testing.assert_close(model(TOKENS), by_hand(edits), atol=1e-3, rtol=1e-3)


def test_dropping_the_error_puts_the_decoded_latents_in_place(model, lossy):
    codec, reads, writes = lossy
    held = {}

    def note(x):
        held["x"] = x
        return x

    def replace_all(x):
        latents = codec.encode(held["x"] if writes != reads else x)
        latents[..., 3] = 0
        return codec.decode(latents)

    edits = {(writes.kind, 1): replace_all} | ({(reads.kind, 1): note} if writes != reads else {})
    with interp.intervene(model, interp.ablate(LatentSite(reads, codec, error="drop"), units=[3])):
        torch.testing.assert_close(model(TOKENS), by_hand(edits), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("error", ["keep", "drop"])
def test_rows_and_positions_that_are_not_named_stay_as_they_were(model, lossy, error):
    codec, reads, writes = lossy
    plain = interp.capture(model, TOKENS, writes)[writes]
    with interp.intervene(model, interp.ablate(LatentSite(reads, codec, error), rows=[1], positions=[4], value=9.0)):
        edited = interp.capture(model, TOKENS, writes)[writes]
    changed = (edited != plain).any(-1)
    assert changed.tolist() == [[False] * 6, [False] * 4 + [True, False]]


def test_a_rotation_is_exact_either_way(model):
    codec, logits = Rotation(), model(TOKENS)
    with interp.intervene(model, interp.scale(LatentSite(sites.resid_post(2), codec, "drop"), 1.0)):
        torch.testing.assert_close(model(TOKENS), logits, atol=1e-4, rtol=1e-4)
    direction = codec.basis[:, 7]
    with interp.intervene(model, interp.ablate(LatentSite(sites.resid_post(2), codec), units=[7])):
        ablated = model(TOKENS)
    with interp.intervene(model, interp.project_out(sites.resid_post(2), direction)):
        torch.testing.assert_close(ablated, model(TOKENS), atol=1e-4, rtol=1e-4)


def test_steering_and_means_of_latents(model):
    codec = Rotation()
    site = LatentSite(sites.resid_post(2), codec)
    vector = torch.zeros(48).index_fill(0, torch.tensor([7]), 3.0)
    with interp.intervene(model, interp.steer(site, vector)):
        ours = model(TOKENS)
    with interp.intervene(model, interp.steer(sites.resid_post(2), 3 * codec.basis[:, 7])):
        torch.testing.assert_close(ours, model(TOKENS), atol=1e-4, rtol=1e-4)
    reference = interp.capture(model, random_tokens(5, 6, seed=9), site)
    with interp.intervene(model, interp.ablate(site, value="mean", reference=reference)):
        found = interp.capture(model, TOKENS, site)[site]
    mean = reference[site][:, 1:].flatten(0, 1).mean(0)
    torch.testing.assert_close(found, mean.expand_as(found), atol=1e-4, rtol=1e-4)


def test_means_of_latents_that_are_mostly_silent(model):
    """A median norm of zero says nothing about outliers; the few active tokens still count."""
    silent = Sparse()
    silent.bias -= 40.0
    site = LatentSite(sites.resid_post(1), silent)
    reference = interp.capture(model, random_tokens(40, 6, seed=9), site)
    latents = reference[site][:, 1:].flatten(0, 1)
    assert latents.norm(dim=-1).median() == 0
    assert latents.norm(dim=-1).max() > 0
    found = interp.ablate(site, value="mean", reference=reference).edit(torch.zeros((2, 6, 20)), None)
    torch.testing.assert_close(found, latents.mean(0).expand_as(found))


def test_gradients_at_latents_predict_writing_them(model, lossy):
    codec, reads, _ = lossy
    site = LatentSite(reads, codec, error="keep")
    acts = interp.capture(model, TOKENS, site, readout=READOUT, gradients=True)
    (gradient,) = torch.autograd.grad((acts.logits[:, 0] - acts.logits[:, 1]).sum(), acts[site])
    latents = acts[site].detach()
    direction = torch.randn(latents.shape, generator=torch.Generator().manual_seed(3))
    measured = (
        _metric(model, site, latents + 1e-2 * direction) - _metric(model, site, latents - 1e-2 * direction)
    ) / 2e-2
    assert (gradient * direction).sum().item() == pytest.approx(measured.item(), rel=2e-2, abs=1e-2)


@torch.no_grad()
def _metric(model, site, latents):
    with interp.intervene(model, interp.patch(site, latents)):
        read = READOUT.gather(model(TOKENS).double())
    return (read[:, 0] - read[:, 1]).sum()


def test_latents_leave_the_gradients_of_other_sites_whole(model, lossy):
    """What the codec does not reproduce counts as well, before it and at the site itself."""
    codec, reads, writes = lossy
    others = [sites.resid_pre(0), reads, writes, sites.z(1), sites.resid_pre(3)]
    others = list(dict.fromkeys(others))

    def gradients(wanted):
        acts = interp.capture(model, TOKENS, wanted, readout=READOUT, gradients=True)
        metric = (acts.logits[:, 0] - acts.logits[:, 1]).sum()
        return dict(zip(acts, torch.autograd.grad(metric, list(acts.values()))))

    alone = gradients(others)
    for wanted in ([LatentSite(reads, codec), *others], [*others, LatentSite(reads, codec)]):
        beside = gradients(wanted)
        for site in others:
            torch.testing.assert_close(beside[site], alone[site], atol=1e-4, rtol=1e-3)


def test_capturing_latents_with_gradients_leaves_the_logits_exactly_as_they_were(model, lossy):
    codec, reads, _ = lossy
    acts = interp.capture(model, TOKENS, [LatentSite(reads, codec)], readout=READOUT, gradients=True)
    plain = interp.capture(model, TOKENS, sites.embed(), readout=READOUT)
    assert torch.equal(acts.logits, plain.logits)


# Refusals


def test_what_is_refused(model):
    with pytest.raises((InputError, TypeError)):  # by the type checker first, where one runs
        LatentSite(sites.resid_post(0), Rotation(), error="freeze")
    with pytest.raises(InputError, match="this codec reads 'resid_post', not 'z'"):
        LatentSite(sites.z(0), Rotation())
    on_heads = Sparse("z", "z")
    with pytest.raises(InputError, match=r"latents have no heads; choose some of them with units="):
        interp.intervene(model, interp.ablate(LatentSite(sites.z(0), on_heads), heads=[1])).__enter__()
    with (
        pytest.raises(InputError, match="unit 20 does not exist: there are 20"),
        interp.intervene(model, interp.ablate(LatentSite(sites.resid_post(0), Sparse()), units=[20])),
    ):
        model(TOKENS)
    with (
        pytest.raises(InputError, match=r"writes at blocks.1.hook_resid_pre before it has read"),
        interp.intervene(model, interp.ablate(LatentSite(sites.resid_post(1), Sparse("resid_post", "resid_pre")))),
    ):
        model(TOKENS)
    with pytest.raises(InputError, match="the layers are 0 to 3"):
        interp.capture(model, TOKENS, LatentSite(sites.resid_post(7), Rotation()))


def test_nothing_is_left_behind(model, lossy):
    codec, reads, _ = lossy
    before, logits = traces(model), model(TOKENS)
    with interp.intervene(model, interp.ablate(LatentSite(reads, codec))):
        model(TOKENS)
    assert traces(model) == before
    assert torch.equal(model(TOKENS), logits)
