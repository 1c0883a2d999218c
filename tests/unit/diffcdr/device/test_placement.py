"""What a device's name comes to on machines that lack one thing or another, told in one sentence with the remedy."""

from __future__ import annotations

import ctypes
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcdr.device import placement
from diffcdr.device.driver import Driver, Gpu, read_driver
from diffcdr.device.names import gpu_index, parse_device
from diffcdr.device.placement import CUDA_PROVIDER, place
from diffcdr.errors import DeviceError

H100 = Gpu("NVIDIA H100", 80 << 30, (9, 0))


class Runtime:
    """The module onnxruntime, as far as placing looks at it."""

    __version__ = "1.31.1"
    cuda_version = "13.0"

    def __init__(self, folder: Path, *, cuda: bool = True) -> None:
        self.__file__ = str(folder / "__init__.py")
        self._cuda = cuda
        self.preloaded = 0

    def get_available_providers(self) -> list[str]:
        return [*([CUDA_PROVIDER] if self._cuda else []), "CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        self.preloaded += 1
        print("Failed to load libcublas.so.13")


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    found = Runtime(tmp_path)
    monkeypatch.setattr(placement, "onnx_runtime", lambda: found)
    placement._warn_once.cache_clear()
    return found


@pytest.mark.parametrize(
    ("driver", "says"),
    [
        (Driver(present=False), "no NVIDIA driver"),
        (Driver(present=True, cuda=(13, 0), problem="the driver sees no GPU"), "sees no GPU; check nvidia-smi"),
        (Driver(present=True, cuda=(13, 0), gpus=(H100,)), r"no GPU 2 \(there are: 0 NVIDIA H100\); name one"),
        (
            Driver(present=True, cuda=(12, 4), gpus=(H100,) * 3),
            r"CUDA 12\.4 at most.*for 13\.0; update the driver",
        ),
        (Driver(present=True, cuda=(13, 0), gpus=(H100,) * 3), "provider cannot be loaded.*serve-gpu"),
    ],
)
def test_what_is_missing_is_told_with_its_remedy(
    runtime: Runtime, capsys: pytest.CaptureFixture[str], driver: Driver, says: str
) -> None:
    with pytest.raises(DeviceError, match=f"^device cuda:2 cannot be used: .*{says}"):
        place("cuda:2", driver=lambda: driver)
    assert capsys.readouterr().out == ""


def test_a_runtime_without_cuda_is_told_apart(runtime: Runtime) -> None:
    runtime._cuda = False
    with pytest.raises(DeviceError, match="built without CUDA; pip uninstall onnxruntime"):
        place("cuda", driver=lambda: Driver(present=True, cuda=(13, 0), gpus=(H100,)))


def test_auto_says_once_why_a_driver_is_not_used(runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert place("auto", driver=lambda: Driver(present=False)).reason is None
        assert caplog.records == []
        for _ in range(2):
            settled = place("auto", driver=lambda: Driver(present=True, cuda=(12, 4), gpus=(H100,)))
            assert (settled.device, settled.on_gpu) == ("cpu", False)
    (record,) = caplog.records
    assert str(settled.reason) in record.getMessage()
    assert "update the driver" in record.getMessage()


def test_libraries_are_preloaded_before_the_provider(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def load(path: str, mode: int = 0) -> None:
        assert runtime.preloaded == 1
        loaded.append(Path(path).name)

    monkeypatch.setattr(ctypes, "CDLL", load)
    found = place("auto", driver=lambda: Driver(present=True, cuda=(13, 1), gpus=(H100,)))
    assert (found.device, found.provider, found.version, found.index) == ("cuda:0", CUDA_PROVIDER, "1.31.1", 0)
    assert loaded[-2:] == ["libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"]


class DriverLibrary:
    """libcuda.so.1 with two GPUs. ``status``: what starting it comes to."""

    def __init__(self, status: int = 0) -> None:
        self.status = status

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            if name == "cuInit":
                return self.status
            if name == "cuGetErrorName":
                arguments[1]._obj.value = b"CUDA_ERROR_SYSTEM_NOT_READY"
            elif name == "cuDeviceGetName":
                arguments[0].value = b"NVIDIA H100"
            elif name != "cuDeviceGet":
                answers = {"cuDriverGetVersion": 13_010, "cuDeviceGetCount": 2, "cuDeviceTotalMem_v2": 80 << 30}
                attribute = {75: 9, 76: 0}.get(arguments[1], 0) if name == "cuDeviceGetAttribute" else 0
                arguments[0]._obj.value = answers.get(name, attribute)
            return 0

        return call


def test_the_driver_is_read() -> None:
    found = read_driver(lambda name: DriverLibrary())
    assert found == Driver(present=True, cuda=(13, 1), gpus=(H100, H100))
    broken = read_driver(lambda name: DriverLibrary(status=802))
    assert broken.problem == "the driver cannot start (CUDA_ERROR_SYSTEM_NOT_READY, code 802)"


@given(st.one_of(st.sampled_from(["auto", "cpu", "cuda", "cuda:0", "cuda:12"]), st.text(max_size=12)))
def test_names_are_parsed_or_refused(text: str) -> None:
    kind, _, number = text.partition(":")
    fine = text in ("auto", "cpu", "cuda") or (
        kind == "cuda" and number.isascii() and number.isdigit() and len(number) < 4
    )
    if fine:
        assert gpu_index(parse_device(text)) == int(number or 0)
    else:
        with pytest.raises(ValueError, match="expected auto, cpu, cuda or cuda:N"):
            parse_device(text)
