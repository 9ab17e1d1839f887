"""Capture and partial runs of the house model against plain Hugging Face with eager attention."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

import interp
from interp.hooks import partial, sites
from interp.hooks.readout import Readout
from interp.models.catalogue import PREPARED, canonical
from interp.models.prepared import prepare

pytestmark = pytest.mark.slow
TOKENS = torch.randint(49152, (2, 40), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model():
    return interp.load_model("smollm2-135m", device="cpu")


@pytest.fixture(scope="module")
def theirs():
    directory = prepare(PREPARED[canonical("smollm2-135m")])
    plain = AutoModelForCausalLM.from_pretrained(directory, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        return plain(TOKENS, output_hidden_states=True, output_attentions=True, use_cache=False)


def test_streams_patterns_and_logits_are_hugging_faces(model, theirs):
    n_layers = model.cfg.n_layers
    wanted = [f(layer) for layer in range(n_layers) for f in (sites.resid_pre, sites.pattern)]
    found = interp.capture(model, TOKENS, wanted)
    for layer in range(n_layers):
        stream = theirs.hidden_states[layer]
        assert (found[sites.resid_pre(layer)] - stream).abs().max() <= 1e-4 * stream.abs().max()
        torch.testing.assert_close(found[sites.pattern(layer)], theirs.attentions[layer], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(partial.run(model, TOKENS), theirs.logits, atol=1e-3, rtol=1e-3)


def test_runs_from_any_block_and_over_any_suffix(model, theirs):
    readout = Readout(torch.tensor([[39, 20], [30, 39]]), torch.tensor([[5, 600], [7, -1]]))
    expected = readout.gather(theirs.logits)
    _, past = partial.run_recording(model, TOKENS, readout)
    for start in (0, 11, 29):
        stream = theirs.hidden_states[start]
        torch.testing.assert_close(partial.run(model, stream, start, readout=readout), expected, atol=1e-3, rtol=1e-3)
        suffix = partial.run(model, stream[:, 17:], start, past=past.prefix(17), readout=readout)
        torch.testing.assert_close(suffix, expected, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(partial.run(model, TOKENS, stop=15), theirs.hidden_states[15], atol=0.2, rtol=1e-4)
