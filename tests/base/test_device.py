"""The device and the number format that a person names are the ones that are used."""

import sys

import pytest
import torch

from danlu.base import device as here
from danlu.base.device import (
    describe,
    keep_memory,
    matmul_flops,
    multiply,
    onednn_leads,
    peak_memory,
    pick_device,
    pick_precision,
    torch_dtype,
)
from danlu.base.device_names import Precision
from danlu.base.errors import UserError

CPU = torch.device("cpu")


def test_a_named_device_is_used_or_refused() -> None:
    assert pick_device("cpu") == CPU
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"device 'cuda' is not available here\. Use --device cpu"):
            pick_device("cuda")


def test_auto_is_the_best_there_is() -> None:
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert pick_device("auto").type == best


@pytest.mark.parametrize(
    ("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_named_precision_is_used(name: Precision, dtype: torch.dtype) -> None:
    for device in (CPU, torch.device("cuda"), torch.device("mps")):
        assert pick_precision(name, device) == name
    assert torch_dtype(name) == dtype


def test_auto_follows_the_measurement() -> None:
    faster = matmul_flops(torch.bfloat16) > 1.5 * matmul_flops(torch.float32)
    assert pick_precision("auto", CPU) == ("bf16" if faster else "fp32")
    assert pick_precision("auto", torch.device("mps")) == "fp32"


def test_a_product_is_measured_once() -> None:
    first = matmul_flops(torch.float32, size=64, repeats=3)
    assert first > 0
    assert matmul_flops(torch.float32, size=64, repeats=3) == first


def test_memory() -> None:
    assert isinstance(keep_memory(), bool)
    if sys.platform != "linux":
        assert keep_memory() is False
    assert 10**8 < peak_memory() < 10**12  # bytes: torch alone takes more than 100 MB


def test_the_machine_in_one_line() -> None:
    assert f"{torch.get_num_threads()} threads" in describe()
    assert "\n" not in describe()


@pytest.mark.parametrize(
    ("maker", "there", "wanted"),
    [("AuthenticAMD", True, True), ("GenuineIntel", True, False), ("AuthenticAMD", False, False)],
)
def test_onednn_leads_on_processors_of_amd(
    maker: str, there: bool, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here.Path, "is_file", lambda path: False)
    monkeypatch.setattr(here.platform, "processor", lambda: f"AMD64 Family 25 Model 1, {maker}")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: there)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    onednn_leads.cache_clear()
    try:
        assert onednn_leads() == (wanted and hasattr(torch.ops.mkldnn, "_linear_pointwise"))
    finally:
        onednn_leads.cache_clear()


@pytest.mark.parametrize("leads", [False, True])
def test_multiply(leads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if leads and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this build of torch has no oneDNN")
    monkeypatch.setattr(here, "onednn_leads", lambda: leads)
    a, b = torch.linspace(-1, 1, 15).view(3, 5), torch.linspace(1, -2, 20).view(4, 5)
    torch.testing.assert_close(multiply(a, b), a @ b.t())
    torch.testing.assert_close(multiply(a.bfloat16(), b.bfloat16()), a.bfloat16() @ b.bfloat16().t())
