"""Names of places: every name there is, its shape on every kind of model, and what is refused."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

import interp
from interp.errors import InputError
from interp.hooks import sites
from interp.hooks.sites import KINDS, Site
from tests.hooks.watching import all_sites
from tests.oracles.plain_forward import llama_logits, recording
from tests.tiny_models import TINY, plain_llama, random_tokens, tiny, tiny_llama

TOKENS = random_tokens(n_rows=2, n_pos=7)


@pytest.fixture(params=TINY)
def model(request):
    return tiny(request.param)


def test_every_site_has_the_stated_shape(model):
    found = interp.capture(model, TOKENS, all_sites(model))
    for site, value in found.items():
        stated = sites.shape(model, site)
        given = {"batch": 2, "pos": 7, "query": 7, "key": 7}
        assert value.shape == tuple(given.get(name, size) for name, size in stated.items()), site
        assert (site.head_dim is None) == ("head" not in stated and "kv_head" not in stated)
        if site.head_dim is not None:
            assert value.shape[site.head_dim] == sites.n_heads_at(model, site)
        assert value.shape[site.pos_dim] == 7


def test_what_each_kind_of_model_lacks():
    missing = {name: set(KINDS) - {site.kind for site in all_sites(tiny(name))} for name in TINY}
    assert missing == {
        "gpt2": {"q_rot", "k_rot"},
        "llama": {"pos_embed"},
        "gpt-neox": {"pos_embed", "resid_mid", "q_rot", "k_rot"},
        "gemma2": {"pos_embed"},
        "native": {"q_rot", "k_rot", "scores"},
        "native-rotary": {"pos_embed", "q_rot", "k_rot", "scores"},
        "native-attention-only": {
            "resid_mid", "mlp_in", "mlp_pre", "mlp_post", "mlp_out", "q_rot", "k_rot", "scores", "scale1", "scale2",
            "final_scale",
        },
    }  # fmt: skip


def test_key_value_heads_under_grouped_query_attention():
    model = tiny("llama")
    assert sites.shape(model, sites.k(0)) == {"batch": None, "pos": None, "kv_head": 2, "d_head": 12}
    assert sites.shape(model, sites.v(0))["kv_head"] == sites.shape(model, sites.k_rot(0))["kv_head"] == 2
    assert sites.shape(model, sites.q(0)) == {"batch": None, "pos": None, "head": 4, "d_head": 12}
    assert sites.shape(model, sites.pattern(0))["head"] == sites.shape(model, sites.z(0))["head"] == 4


@pytest.mark.parametrize("name", TINY)
def test_the_stream_is_what_the_parts_add_up_to(name):
    """embed (+ pos_embed) enters; resid_pre + attn_out = resid_mid; + mlp_out = resid_post = the next resid_pre."""
    model = tiny(name)
    a = interp.capture(model, TOKENS, all_sites(model))
    entering = a["hook_embed"] + a.get("hook_pos_embed", 0)
    for layer in range(model.cfg.n_layers):
        torch.testing.assert_close(a[sites.resid_pre(layer)], entering)
        after = a[sites.resid_pre(layer)] + a[sites.attn_out(layer)]
        if sites.resid_mid(layer) in a:
            torch.testing.assert_close(a[sites.resid_mid(layer)], after)
        entering = after + a.get(sites.mlp_out(layer), 0)
        torch.testing.assert_close(a[sites.resid_post(layer)], entering)


def test_every_site_of_llama_is_what_its_name_says():
    """All kinds at all layers against a Llama written out in plain torch."""
    expected = {}
    with torch.no_grad():
        llama_logits(plain_llama(), TOKENS, recording(expected))
    found = interp.capture(tiny("llama"), TOKENS, all_sites(tiny("llama")))
    assert {(site.kind, site.layer) for site in found} == set(expected)
    for site, value in found.items():
        theirs = expected[site.kind, site.layer]
        open_ = theirs > -1e30  # masked scores are a very low number, whichever
        torch.testing.assert_close(value[open_], theirs[open_], atol=2e-4, rtol=1e-4, msg=str(site))
        assert (value[~open_] < -1e30).all()


# Names


@pytest.mark.parametrize("name", TINY)
def test_a_site_is_found_by_its_own_name_and_by_the_one_a_hook_reports(name):
    model = tiny(name)
    for site in all_sites(model):
        assert sites.as_site(str(site)) == site
        assert sites.as_site(site) is site
        native = sites.hook_points(model)[site.hook].name
        assert sites.as_site(native) == site
        sites.check(model, native)


@pytest.mark.parametrize(
    ("given", "site"),
    [
        ("blocks.5.hook_resid_post", sites.resid_post(5)),
        ("blocks.5.hook_out", sites.resid_post(5)),
        ("blocks.5.hook_in", sites.resid_pre(5)),
        ("blocks.5.attn.o.hook_in", sites.z(5)),
        ("blocks.12.attn.q.hook_out", sites.q(12)),
        ("blocks.0.attn.hook_rot_k", sites.k_rot(0)),
        ("blocks.0.mlp.hook_pre", sites.mlp_pre(0)),
        ("blocks.0.ln1.hook_scale", sites.scale(0)),
        ("blocks.0.ln2.hook_scale", sites.scale(0, "ln2")),
        ("ln_final.hook_scale", sites.final_scale()),
        ("hook_embed", sites.embed()),
        ("hook_pos_embed", sites.pos_embed()),
    ],
)
def test_as_site(given, site):
    assert sites.as_site(given) == site
    assert hash(sites.as_site(given)) == hash(site)


@pytest.mark.parametrize(
    ("tail", "fits", "differs"),
    [
        # Gemma 2 norms what attention and MLP give before adding it; `attn_out` is what is added.
        ("attn.hook_out", "llama", "gemma2"),
        ("mlp.hook_out", "llama", "gemma2"),
        ("ln1_post.hook_out", "gemma2", "llama"),
        # What goes into the nonlinearity is the gate where there is one.
        ("mlp.in.hook_out", "gpt2", "llama"),
        ("mlp.gate.hook_out", "llama", "gpt2"),
    ],
)
def test_a_name_that_means_another_place_on_this_model_is_refused(tail, fits, differs):
    assert interp.capture(tiny(fits), TOKENS, f"blocks.0.{tail}")
    with pytest.raises(InputError, match=rf"on this model 'blocks.0.{tail}' is not .*name that one"):
        interp.capture(tiny(differs), TOKENS, f"blocks.0.{tail}")


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ("blocks.0.hook_resid_mdi", "did you mean 'blocks.0.hook_resid_mid'"),
        ("resid_pots", "no site called 'resid_pots'; did you mean 'resid_post'"),
        ("blocks.x.hook_z", "there is no site called"),
        ("hook_z", "there is no site called"),
        ("", "there is no site called"),
        ("blocks.-1.hook_resid_pre", "there is no site called"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(given, part):
    with pytest.raises(InputError, match=part):
        sites.as_site(given)


def test_sites_that_cannot_be():
    with pytest.raises(InputError, match="did you mean 'resid_post'"):
        Site("resid_pots", 0)
    with pytest.raises(InputError, match="'resid_pre' takes a layer"):
        Site("resid_pre")
    with pytest.raises(InputError, match="'embed' takes no layer"):
        Site("embed", 0)
    with pytest.raises(InputError, match="'ln1' and 'ln2', not 'ln3'"):
        sites.scale(0, "ln3")


@pytest.mark.parametrize("layer", [4, -1, 100])
def test_a_layer_the_model_lacks_is_refused(layer):
    with pytest.raises(InputError, match=rf"layer {layer} of 'z' does not exist: the layers are 0 to 3"):
        interp.capture(tiny("llama"), TOKENS, sites.z(layer))


@pytest.mark.parametrize(
    ("name", "site", "nearest"),
    [
        ("gpt-neox", sites.resid_mid(0), "did you mean 'resid_pre'"),
        ("gpt-neox", sites.q_rot(1), "no site 'q_rot'"),  # listed by the bridge, never reached
        ("llama", sites.pos_embed(), "did you mean 'embed'"),  # likewise
        ("native-rotary", sites.pos_embed(), "did you mean 'embed'"),
        ("native-attention-only", sites.mlp_out(0), "valid: embed, pos_embed"),
        ("native-attention-only", sites.final_scale(), "valid: embed, pos_embed"),
        ("native", sites.scores(0), "use sites.pattern"),
    ],
)
def test_a_site_the_model_lacks_is_refused_by_reading_and_by_writing(name, site, nearest):
    model = tiny(name)
    for attempt in (
        lambda: interp.capture(model, TOKENS, site),
        lambda: sites.shape(model, site),
        lambda: interp.intervene(model, interp.ablate(site)).__enter__(),
    ):
        with pytest.raises(InputError, match=nearest):
            attempt()


def test_heads_the_site_lacks_are_refused():
    model = tiny("llama")
    with pytest.raises(InputError, match="head 4 does not exist: the heads are 0 to 3"):
        sites.check(model, sites.z(0), [0, 4])
    with pytest.raises(InputError, match="head 2 does not exist: the key/value heads are 0 to 1"):
        sites.check(model, sites.v(0), [2])
    with pytest.raises(InputError, match="head -1 does not exist"):
        sites.check(model, sites.z(0), [-1])
    with pytest.raises(InputError, match=r"site 'resid_pre' has no heads; use sites.z"):
        sites.check(model, sites.resid_pre(0), [0])
    sites.check(model, sites.pattern(3), [3])


def test_what_is_remembered_of_a_model_dies_with_it():
    model = tiny_llama()
    sites.reached_hooks(model), sites.hook_point(model, sites.resid_mid(0))
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
