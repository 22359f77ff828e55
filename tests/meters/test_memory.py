from __future__ import annotations

import pytest
import torch

from torpor.meters import CudaMemoryMeter, memory_meter


def test_a_cpu_has_no_peak_counter_and_says_so() -> None:
    meter = memory_meter("cpu")
    assert not meter.available
    assert meter.measure(lambda: pytest.fail("ran")) is None
    assert meter.reason is not None
    assert "keeps no peak counter" in meter.reason


def test_cuda_peak_is_reset_first_and_counted_above_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    def reply(name: str, value: int | None) -> None:
        def fake(device: torch.device) -> int | None:
            assert device == torch.device("cuda:0")
            events.append(name)
            return value

        monkeypatch.setattr(torch.cuda, name, fake)

    reply("synchronize", None)
    reply("reset_peak_memory_stats", None)
    reply("memory_allocated", 1000)
    reply("max_memory_allocated", 1700)
    meter = memory_meter("cuda:0")
    assert isinstance(meter, CudaMemoryMeter)
    assert meter.available
    assert meter.measure(lambda: events.append("call")) == 700
    wanted = [
        "synchronize",
        "reset_peak_memory_stats",
        "memory_allocated",
        "call",
        "synchronize",
        "max_memory_allocated",
    ]
    assert events == wanted


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_peak_of_a_known_allocation() -> None:
    peak = memory_meter("cuda").measure(lambda: torch.empty(1 << 20, device="cuda"))
    assert peak is not None
    assert 4 << 20 <= peak < 5 << 20
