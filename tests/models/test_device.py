"""Choosing a device, with machines imitated that have one, or have one that cannot be used."""

from __future__ import annotations

import pytest
import torch

import interp.models.device as device
from interp.errors import InputError
from interp.models import resolve_device


@pytest.fixture
def machine(monkeypatch):
    """Imitate a machine: which devices are usable, and whether an NVIDIA one is there at all."""

    def imitate(cuda=False, mps=False, nvidia=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1 if cuda else 0)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(device, "_nvidia_present", lambda: nvidia)
        device._warn_once.cache_clear()

    return imitate


def test_auto(machine, monkeypatch):
    machine()
    assert resolve_device() == torch.device("cpu")
    machine(cuda=True, mps=True)
    assert resolve_device("auto") == torch.device("cuda")
    machine(mps=True)
    assert resolve_device("auto") == torch.device("cpu")
    monkeypatch.setenv("TRANSFORMERLENS_ALLOW_MPS", "1")
    assert resolve_device("auto") == torch.device("mps")


def test_an_unusable_nvidia_device_is_warned_of_once(machine, caplog):
    machine(nvidia=True)
    assert resolve_device("auto") == resolve_device("auto") == torch.device("cpu")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "CUDA is not usable" in caplog.text


def test_no_warning_without_such_a_device_or_when_the_cpu_is_asked_for(machine, caplog):
    machine()
    resolve_device("auto")
    machine(nvidia=True)
    resolve_device("cpu")
    assert not caplog.records


@pytest.mark.parametrize(
    ("asked", "message"),
    [("cuda", "not usable here"), ("mps", "not usable here"), ("gpu", "there is no device 'gpu'"), ("", "no device")],
)
def test_devices_that_are_not_there_are_refused(machine, asked, message):
    machine()
    with pytest.raises(InputError, match=message):
        resolve_device(asked)


def test_an_index_beyond_the_last_device(machine):
    machine(cuda=True)
    assert resolve_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(InputError, match="there are 1 CUDA devices"):
        resolve_device("cuda:3")
