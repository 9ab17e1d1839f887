"""Shards: what is in them, that a seed and a place decide their order, and what happens to torn and altered ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import saes
from interp import capture
from interp.errors import InputError, StorageError
from saes.activations.harvesting import Harvest
from saes.activations.reading import Source
from saes.activations.rows import StreamedRows, pack
from saes.activations.shard_headers import read_header
from saes.activations.shard_streams import ShardStream
from saes.activations.shards import Shards
from saes.activations.texts import Texts
from tests.tiny_models import tiny, word_tokenizer

SITES = ["blocks.0.hook_resid_post", "blocks.1.attn.hook_z"]
LENGTH = 16


def make_texts(directory: Path, n: int = 40) -> Texts:
    """Documents of 5 to 4 + n words; none begin with w1 or w2, which are special."""
    directory.mkdir(exist_ok=True)
    for i in range(n):
        (directory / f"{i:02d}.txt").write_text(" ".join(f"w{30 + (i * 7 + k * 3) % 69}" for k in range(5 + i)))
    return Texts(str(directory), held_out=0.2)


def write(path: Path, texts: Texts, **options) -> Shards:
    settings = Harvest(context_size=LENGTH, prompts_per_pass=3, dtype=options.pop("dtype", "float32"))
    given = {"shard_tokens": 200, "held_out_tokens": 50, "seed": 3} | options
    return saes.write_shards(path, tiny("llama"), texts, SITES, harvest=settings, **given)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Texts:
    return make_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def written(texts: Texts, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return write(tmp_path_factory.mktemp("shards") / "whole", texts)


def test_texts_may_be_told_by_their_source(texts: Texts, tmp_path: Path) -> None:
    """A text is what it is in YAML: the source, with everything else as it is by default."""
    settings = Harvest(context_size=LENGTH, prompts_per_pass=3)
    made = saes.write_shards(
        tmp_path / "s", tiny("llama"), texts.source, SITES, harvest=settings, n_tokens=50, held_out_tokens=0
    )
    assert made.header.plan["texts"] == Texts(texts.source).describe()


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != ".lock"}


def test_every_token_once_with_its_ids_and_what_the_model_makes_of_it(written: Shards, texts: Texts) -> None:
    model, tokenizer = tiny("llama"), word_tokenizer()
    rows = list(pack(texts.documents(), tokenizer, LENGTH))
    acts = capture(model, torch.cat([row.tokens for row in rows]), SITES)
    expected = {}
    for r, row in enumerate(rows):
        for p in range(1, LENGTH):  # first positions are left out
            key = (int(row.documents[0, p]), int(row.places[0, p]))
            expected[key] = (int(row.tokens[0, p]), p, [acts[site][r, p].flatten() for site in SITES])
    part = written.read(range(len(written)))
    keys = list(zip(part.documents.tolist(), part.places.tolist()))
    assert len(keys) == len(set(keys)) == len(expected)
    assert keys != sorted(keys)
    for i in range(0, len(keys), 7):
        token, position, vectors = expected[keys[i]]
        assert (int(part.tokens[i]), int(part.positions[i])) == (token, position)
        for site, vector in zip(SITES, vectors):
            torch.testing.assert_close(part.activations[site][i], vector, rtol=1e-3, atol=1e-4)
    some = written.read([400, 3, 250], [SITES[1]])
    assert torch.equal(some.activations[SITES[1]], part.activations[SITES[1]][[400, 3, 250]])
    assert written.widths == {SITES[0]: model.cfg.d_model, SITES[1]: model.cfg.n_heads * model.cfg.d_head}


def test_held_out_documents_stand_apart(written: Shards, texts: Texts) -> None:
    held = written.held_out(50)
    known = [text.split() for _, text in texts.documents(held_out=True)]
    assert len(held.tokens) == 50
    for token, document, place in zip(*(values.tolist() for values in held[1:4])):
        assert known[document][place] == f"w{token}"


def test_moments_are_those_of_what_is_stored(written: Shards) -> None:
    every = written.read(range(len(written))).activations
    for site in SITES:
        mean, second = written.moments(site)
        x = every[site].double()
        torch.testing.assert_close(mean, x.mean(0), rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(second, x.T @ x / len(x), rtol=1e-4, atol=1e-5)


def test_what_the_header_says(written: Shards) -> None:
    told = json.loads((written.directory / "header.json").read_text())
    assert (told["format"], told["version"], told["complete"]) == ("activation-shards", 1, True)
    assert told["plan"]["sites"] == written.widths
    assert told["plan"]["weights_sha256"]
    assert told["plan"]["texts"]["sha256"]
    arrays = load_file(written.directory / told["files"][0]["name"])
    assert {name: str(values.dtype) for name, values in arrays.items()} == {
        **{f"activations.{site}": "torch.float32" for site in SITES},
        **dict.fromkeys(("tokens", "documents", "places", "positions"), "torch.int32"),
    }
    assert [file["n_tokens"] for file in told["files"][:-1]] == [200] * (len(told["files"]) - 1)


class Interrupted(Exception):
    """What stops a writer in these tests."""


def stop_after(monkeypatch: pytest.MonkeyPatch, n: int, error: type[BaseException]) -> None:
    once, calls = Source.next_pass_of_epoch, 0

    def counting(self: Source):
        nonlocal calls
        calls += 1
        if calls > n:
            raise error
        return once(self)

    monkeypatch.setattr(Source, "next_pass_of_epoch", counting)


@pytest.mark.parametrize("n", [2, 5, 11])
def test_an_interrupted_writer_goes_on_to_the_same_bytes(
    n: int, written: Shards, texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, n, Interrupted)
        with pytest.raises(Interrupted):
            write(tmp_path / "s", texts)
    header = read_header(tmp_path / "s")
    assert header is not None
    assert not header.complete
    with pytest.raises(InputError, match=r"is unfinished \(\d+ tokens of all\); the saes\.write_shards call"):
        saes.open_shards(tmp_path / "s")
    # What a writer killed while writing a file may leave.
    (tmp_path / "s" / f"{len(header.files):05d}.safetensors").write_bytes(b"half a shard")
    (tmp_path / "s" / "moments-00099.safetensors").write_bytes(b"half")
    write(tmp_path / "s", texts)
    assert contents(tmp_path / "s") == contents(written.directory)
    before = os.stat(tmp_path / "s" / "00000.safetensors").st_mtime_ns
    write(tmp_path / "s", texts)
    assert os.stat(tmp_path / "s" / "00000.safetensors").st_mtime_ns == before


def test_ctrl_c_says_what_is_kept(texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after(monkeypatch, 8, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt, match="stopped with 200 tokens in whole shards; the same call goes on"):
        write(tmp_path / "s", texts)


KILLED = """
import sys
from pathlib import Path
from tests.saes.activations.test_shards import make_texts, write
write(Path(sys.argv[1]) / "s", make_texts(Path(sys.argv[1]) / "texts", 90), shard_tokens=64)
"""


@pytest.mark.dist
def test_kill_minus_nine_leaves_whole_shards(tmp_path: Path) -> None:
    """A process killed at a random moment; the same call in this process ends with the bytes of an undisturbed one."""
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, cwd=root)
    deadline = time.monotonic() + 120
    while not (tmp_path / "s" / "header.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    process.kill()
    process.wait()
    texts = Texts(str(tmp_path / "texts"), held_out=0.2)
    # The header has the model's name, which for these models is another directory in every process.
    resumed, undisturbed = (write(tmp_path / name, texts, shard_tokens=64) for name in ("s", "undisturbed"))
    assert resumed.header.files == undisturbed.header.files
    assert resumed.header.moments == undisturbed.header.moments
    saes.open_shards(resumed.directory)


def test_a_number_of_tokens(texts: Texts, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    some = write(tmp_path / "some", texts, n_tokens=333, dtype="bfloat16", held_out_tokens=0)
    assert len(some) == 333
    assert [file.n_tokens for file in some.header.files] == [200, 133]
    assert some.read([0]).activations[SITES[0]].dtype == torch.bfloat16
    assert saes.open_shards(some.directory).next_batch(7)[SITES[0]].dtype == torch.float32
    assert not len(some.held_out(5).tokens)
    every = write(tmp_path / "every", texts, n_tokens=100_000)
    assert len(every) < 1000
    assert f"the texts hold only {len(every)} tokens of the 100000 asked for" in caplog.text


def test_streamed_texts_end_where_the_documents_end(texts: Texts) -> None:
    rows = StreamedRows(texts, word_tokenizer(), LENGTH, None)
    n = len(list(pack(texts.documents(), word_tokenizer(), LENGTH)))
    given = [len(rows.rows_of_epoch(5).tokens) for _ in range(n // 5 + 2)]
    assert sum(given) == n
    assert given[-1] == 0
    assert rows.state() == {"epoch": 0, "given": n}


def test_an_order_of_every_epoch(written: Shards) -> None:
    stream = ShardStream(written, seed=1, chunk=4)
    n = stream.n_tokens
    assert n is not None
    assert n > len(written) - 4
    orders = []
    for _ in range(2):
        seen = torch.cat([stream.rows(start, 20) for start in range(0, n - 19, 20)])
        assert len(seen.unique()) == len(seen)
        for _ in range(n // 20):
            stream.next_batch(20)
        stream.next_batch(20)
        orders.append(seen)
    assert not torch.equal(*orders)
    batch = ShardStream(written, seed=1, chunk=4).next_batch(20)[SITES[0]]
    assert torch.equal(batch, written.read(orders[0][:20]).activations[SITES[0]])
    other = ShardStream(written, seed=2, chunk=4).next_batch(20)[SITES[0]]
    assert not torch.equal(batch, other)


def test_a_stream_goes_on_where_it_was(written: Shards) -> None:
    first = saes.open_shards(written.directory, seed=5)
    for _ in range(11):
        first.next_batch(90)
    tensors, plain = first.state()
    assert not tensors
    assert plain["epoch"] == 1
    second = saes.open_shards(written.directory, seed=5)
    second.restore({}, json.loads(json.dumps(plain)))
    for _ in range(12):
        a, b = first.next_batch(90), second.next_batch(90)
        assert all(torch.equal(a[site], b[site]) for site in SITES)
    with pytest.raises(InputError, match="the stored order has seed 5, this stream 6"):
        saes.open_shards(written.directory, seed=6).restore({}, plain)


def test_training_on_shards(written: Shards, tmp_path: Path) -> None:
    stream = saes.open_shards(written.directory, [SITES[0]])
    options = {"n_tokens": 600, "batch_size": 30, "log_every": 5}
    run = saes.fit(saes.TopK(stream.widths[SITES[0]], 64, k=4), stream, out=tmp_path / "runs", **options)
    assert run.dictionary.metadata["hook_name"] == SITES[0]
    assert run.last()["held_out_l0"] <= 4
    assert run.last()["explained_variance"] > run.log[0]["explained_variance"]


def damage(path: Path, change) -> None:
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("00001.safetensors", lambda old: old[:-3], r"00001\.safetensors is torn: it has \d+ bytes of \d+"),
        ("00002.safetensors", lambda old: old[:-9] + b"X" + old[-8:], r"00002\.safetensors was altered"),
        ("held-out.safetensors", lambda old: old[:-9] + b"X" + old[-8:], r"held-out\.safetensors was altered"),
        ("header.json", lambda old: old[:-20], r"header\.json is damaged"),
        ("header.json", lambda old: old.replace(b'"version": 1', b'"version": 2'), "is of another format"),
        ("header.json", lambda old: old.replace(b'"sha256": "', b'"sha256": "0', 1), r"header\.json was altered"),
    ],
)
def test_what_is_torn_or_altered_is_named(name: str, change, message: str, texts: Texts, tmp_path: Path) -> None:
    damage(write(tmp_path / "s", texts).directory / name, change)
    with pytest.raises(InputError, match=message):
        saes.open_shards(tmp_path / "s")


def test_what_cannot_be_opened(written: Shards, texts: Texts, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no shards: it has no header\.json"):
        saes.open_shards(tmp_path)
    with pytest.raises(InputError, match=r"there is no site 'blocks\.0\.hook_resid'; did you mean"):
        saes.open_shards(written.directory, ["blocks.0.hook_resid"])
    with pytest.raises(InputError, match="hold tokens 0 to"):
        written.read([len(written)])
    stream = saes.open_shards(written.directory)
    with pytest.raises(InputError, match="a batch of 10000 tokens is larger than the"):
        stream.next_batch(10_000)


def test_what_cannot_be_written(written: Shards, texts: Texts, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(InputError, match="was begun with seed = 3, not 4; choose another directory"):
        write(written.directory, texts, seed=4)
    with pytest.raises(InputError, match=r"blocks\.1\.attn\.hook_pattern has a number for every other token"):
        saes.write_shards(tmp_path / "p", tiny("llama"), texts, ["blocks.1.attn.hook_pattern"])
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
        with pytest.raises(InputError, match=r"the shards need .* GB and .* GB free; store fewer tokens"):
            write(tmp_path / "full", texts)

    def refuse(*ignored: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("saes.activations.shard_writing.save_file", refuse)
    with pytest.raises(StorageError, match="the disk is full; free some space"):
        write(tmp_path / "f", texts)
