"""How many operations a second this machine could do: what a run's speed is a share of.

On a GPU that is known, the dense 16-bit peak of its maker's data sheet, as is the custom for model FLOPs utilisation
(Chowdhery et al. 2022, PaLM, appendix B); everywhere else the rate of a large matrix product, measured.
"""

import time

import torch

from danlu.base.device import multiply, torch_dtype

# Dense bf16 or fp16 with float32 sums, in 10^12 operations a second; NVIDIA's data sheets. First match counts.
DATA_SHEET = {
    "B200": 2250.0,
    "H200": 989.4,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.4,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10G": 70.0,
    "A10": 125.0,
    "V100": 125.0,
    "T4": 65.0,
    "RTX 4090": 165.2,
    "RTX 3090": 71.0,
}
SECONDS, REPEATS = 0.3, 8
SIZES = {"cpu": 1024, "cuda": 8192, "mps": 2048}


def known_peak(name: str, precision: str) -> float | None:
    """Of the GPU of that name, by its data sheet; None if it, or its float32 peak, is not in the table."""
    if precision == "fp32":
        return None
    words = set(name.replace("-", " ").split())
    return next((1e12 * value for key, value in DATA_SHEET.items() if words.issuperset(key.split())), None)


def peak_flops(device: torch.device, precision: str) -> float:
    """Operations a second, at the data sheet's or, measured for at most half a second, the machine's best.

    No random numbers: a run that was measured and one that was told must draw the same.
    """
    if device.type == "cuda" and (known := known_peak(torch.cuda.get_device_name(device), precision)):
        return known
    dtype, size = torch_dtype(precision), SIZES[device.type]
    if _fastest(size // 4, dtype, device, 2) * 4**3 * 2 > SECONDS:  # a format that this machine only imitates
        size //= 4
    return 2 * size**3 / _fastest(size, dtype, device, REPEATS)


def _fastest(size: int, dtype: torch.dtype, device: torch.device, repeats: int) -> float:
    """Seconds of the fastest of some products of square matrices, after one that warms up."""
    values = torch.linspace(-1, 1, size * size, device=device).view(size, size).to(dtype)
    began, best = time.perf_counter(), float("inf")
    for number in range(repeats + 1):
        start = time.perf_counter()
        float(multiply(values, values)[0, 0])  # waits for a GPU
        best = min(best, time.perf_counter() - start) if number else best
        if number and time.perf_counter() - began > SECONDS:
            break
    return best
