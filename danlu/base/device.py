"""Where to compute and in which number format, measured rather than guessed.

Three facts of CPUs are handled here. bf16 products are four times as fast as fp32 where the processor has
matrix units for them and many times slower where it has not, so a short measurement decides. torch gives
float32 to MKL, which makes half as fast as oneDNN on a processor of AMD: there that is asked
(`danlu.model.products`). And glibc returns every large block to the kernel, so each tensor over 32 MB costs
a page fault for each of its pages, every step: `keep_memory` turns that off (softmax over 4096 x 8192 went
from 67 to 25 ms).
"""

import contextlib
import ctypes
import functools
import gc
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Literal

import torch

from danlu.base.device_names import DeviceName, Precision
from danlu.base.errors import UserError

# glibc's mallopt parameters, malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def pick_device(name: DeviceName = "auto") -> torch.device:
    """The device of that name; ``auto`` prefers CUDA, then MPS, then the CPU."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    if not available[name]:
        raise UserError(f"device '{name}' is not available here", remedy="Use --device cpu")
    return torch.device(name)


def pick_precision(name: Precision, device: torch.device) -> Literal["fp32", "bf16", "fp16"]:
    """The compute format of that name; ``auto`` takes bf16 where it multiplies clearly faster than fp32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "mps":
        return "fp32"
    # 1.5, not 1.0: a busy machine must not flip the choice between a run and its continuation.
    return "bf16" if matmul_flops(torch.bfloat16) > 1.5 * matmul_flops(torch.float32) else "fp32"


@functools.cache
def matmul_flops(dtype: torch.dtype, size: int = 1024, repeats: int = 5, kind: str = "cpu") -> float:
    """Floating-point operations a second of a square matrix product: the median of a few, measured once."""
    a = torch.randn(size, size, device=kind).to(dtype)
    b = torch.randn(size, size, device=kind).to(dtype)
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        product = multiply(a, b)
        if kind == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
        del product
    return 2 * size**3 / statistics.median(seconds[1:])


@functools.cache
def onednn_leads() -> bool:
    """Is oneDNN faster than MKL here in float32, and there?"""
    if not torch.backends.mkl.is_available() or not torch.backends.mkldnn.is_available():
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    about = Path("/proc/cpuinfo")
    maker = about.read_text(encoding="utf-8", errors="replace") if about.is_file() else platform.processor()
    return "AuthenticAMD" in maker


def onednn(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """a bᵀ + bias by oneDNN, [N, I], [O, I] and [O] -> [N, O], float32 on a CPU; it has no gradient."""
    found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")
    return found


def multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a bᵀ, [N, I] and [O, I] -> [N, O], by what large products of the format are computed with here."""
    fast = a.dtype == torch.float32 and a.device.type == "cpu" and onednn_leads()
    return onednn(a, b) if fast else a @ b.t()


def torch_dtype(precision: str) -> torch.dtype:
    """'bf16' → torch.bfloat16."""
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def keep_memory() -> bool:
    """Let the allocator keep freed blocks for the next step (glibc only); True if it took effect.

    Called at the edge, when a long computation begins, because it changes the whole process.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
        done = [
            libc.mallopt(M_MMAP_MAX, 0),
            libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1),
            libc.mallopt(M_TOP_PAD, 64 << 20),
        ]
    except (OSError, AttributeError):
        return False
    return all(value == 1 for value in done)


def give_back_memory() -> None:
    """Return to the system what `keep_memory` kept; called between stages, when nothing of the last is needed."""
    gc.collect()
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def peak_memory() -> int:
    """The most memory this process has held, in bytes (resident set on a CPU, allocations on a GPU)."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def describe() -> str:
    """One line on this machine, for logs and benchmark records."""
    model = ""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as handle:
            model = next((line.split(":", 1)[1].strip() for line in handle if line.startswith("model name")), "")
    return f"{model or sys.platform}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
