from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from torpor.core.errors import MeterError
from torpor.meters import NullEnergyMeter, NvmlMeter, RaplMeter, energy_meter


def zone(root: Path, folder: str, name: str, microjoules: int, limit: int | None = 1_000_000) -> Path:
    path = root / folder
    path.mkdir()
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{microjoules}\n")
    if limit is not None:
        (path / "max_energy_range_uj").write_text(f"{limit}\n")
    return path / "energy_uj"


def test_rapl_adds_packages_and_memory_and_nothing_twice(tmp_path: Path) -> None:
    counters = {
        name: zone(tmp_path, folder, name, 100)
        for folder, name in [
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:0:1", "dram"),
            ("intel-rapl:1", "package-1"),
            ("intel-rapl:2", "psys"),
        ]
    }

    def call() -> None:
        for counter, used in zip(counters.values(), [20_000, 10_000, 3_000, 500, 90_000], strict=True):
            counter.write_text(f"{100 + used}\n")

    meter = RaplMeter(tmp_path)
    assert meter.measure(call) == pytest.approx(0.0235)
    assert (meter.available, meter.reason) == (True, None)


def test_rapl_follows_a_counter_that_wraps(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 900_000, limit=1_000_000)
    assert RaplMeter(tmp_path).measure(lambda: counter.write_text("200000")) == pytest.approx(0.3)


def test_rapl_does_not_guess_a_range_it_cannot_read(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 900_000, limit=None)
    meter = RaplMeter(tmp_path)
    assert meter.measure(lambda: counter.write_text("200000")) is None
    assert meter.reason is not None
    assert "wrapped" in meter.reason


def test_rapl_never_says_zero_for_too_short_a_call(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 5)
    meter = RaplMeter(tmp_path)
    assert meter.measure(lambda: None) is None
    assert meter.reason is not None
    assert "longer call" in meter.reason
    assert meter.measure(lambda: counter.write_text("1000005")) == pytest.approx(1.0)
    assert meter.reason is None


def test_machine_without_counters_gets_a_null_meter_with_a_reason(tmp_path: Path) -> None:
    meter = energy_meter("cpu", root=tmp_path)
    assert isinstance(meter, NullEnergyMeter)
    assert meter.reason is not None
    assert "none on this machine" in meter.reason
    assert meter.measure(lambda: pytest.fail("ran")) is None


def test_counters_that_may_not_be_read_get_a_null_meter_with_a_reason(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 5)
    counter.unlink()
    counter.mkdir()  # reading fails for root as well
    meter = energy_meter("cpu", root=tmp_path)
    assert not meter.available
    assert meter.reason is not None
    assert "run as root" in meter.reason


def test_readable_counters_are_picked_on_a_cpu(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 5)
    assert isinstance(energy_meter("cpu", root=tmp_path), RaplMeter)


def test_other_devices_have_no_counter() -> None:
    meter = energy_meter("meta")
    assert not meter.available
    assert meter.reason is not None
    assert "meta" in meter.reason


class FakeNvml:
    """The three NVML calls that the meter needs."""

    class NVMLError(Exception):
        """NVML's own error."""

    def __init__(self, supported: bool = True) -> None:
        self.supported, self.millijoules, self.asked = supported, 1000, ""

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802 - NVML's name
        self.asked = uuid
        return "handle"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802 - NVML's name
        assert handle == "handle"
        if not self.supported:
            raise self.NVMLError("Not Supported")
        return self.millijoules


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    waits: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waits.append)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="abc"))
    return waits


def test_nvml_reads_the_card_that_cuda_means_and_waits_for_it(
    cuda: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    meter = energy_meter("cuda:0")
    assert isinstance(meter, NvmlMeter)
    assert nvml.asked == "GPU-abc"

    def call() -> None:
        assert len(cuda) == 1
        nvml.millijoules += 2500

    assert meter.measure(call) == pytest.approx(2.5)
    assert len(cuda) == 2
    assert meter.measure(lambda: None) is None
    assert meter.reason is not None
    assert "longer call" in meter.reason


def test_a_card_without_the_counter_gets_a_null_meter(
    cuda: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(supported=False))
    meter = energy_meter("cuda:0")
    assert not meter.available
    assert meter.reason is not None
    assert "Not Supported" in meter.reason


def test_missing_nvml_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(MeterError, match=r"torpor\[nvml\]"):
        NvmlMeter(torch.device("cuda:0"))
