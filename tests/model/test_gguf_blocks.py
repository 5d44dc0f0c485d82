"""Every format against llama.cpp's own Python package, bit for bit, on blocks of any bits at all."""

from typing import Any

import gguf_files
import numpy as np
import pytest
from gguf_files import gguf
from numpy.typing import NDArray

from danlu.model.gguf_blocks import FORMATS, OTHERS, dequantize

FORMS = {form.name: form for form in FORMATS.values()}


def test_the_formats_are_those_of_the_issue() -> None:
    assert set(FORMS) == set(gguf_files.FORMATS)


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_a_block_is_laid_out_as_in_llama_cpp(kind: int) -> None:
    form, theirs = FORMATS[kind], gguf.GGMLQuantizationType(kind)
    assert (form.name, (form.numbers, form.block.itemsize)) == (theirs.name, gguf.GGML_QUANT_SIZES[theirs])


def test_what_is_refused_has_its_name() -> None:
    theirs = {int(kind): kind.name for kind in gguf.GGMLQuantizationType if kind not in FORMATS}
    assert theirs.items() <= OTHERS.items()
    assert not set(OTHERS) & set(FORMATS)


def bits(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """The values' bits; every NaN alike, whose payload no arithmetic promises."""
    return np.where(np.isnan(values), np.float32(np.nan), values).view(np.uint32)


@pytest.mark.parametrize("name", sorted(FORMS))
def test_any_bits_come_out_as_in_the_gguf_package(name: str) -> None:
    form = FORMS[name]
    rows, size = 37, 512 // form.numbers * form.block.itemsize
    data: NDArray[Any] = np.random.default_rng(0).integers(0, 256, (rows, size), dtype=np.uint8)
    with np.errstate(all="ignore"):
        wanted = gguf_files.unpacked(data, name)
    found = dequantize(data, form)
    assert found.shape == wanted.shape == (rows, 512)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(bits(found), bits(wanted))
    assert np.isfinite(found).mean() > 0.8  # so that the comparison is of numbers


@pytest.mark.parametrize("name", sorted(set(FORMS) - set(gguf_files.HALVES)))
def test_what_was_written_comes_back(name: str) -> None:
    draw = np.random.default_rng(1)
    values = draw.standard_normal((8, 256)).astype(np.float32)
    found = dequantize(gguf_files.packed(values, name, draw).view(np.uint8), FORMS[name])
    apart, largest = np.abs(found - values).max(), np.abs(values).max()
    # Half a step; the formats without a minimum lose a whole one at the end that has no sign of its own.
    step = {"F32": 0, "F16": 2**-10, "BF16": 2**-7, "Q8_0": 2**-7, "Q4_0": 2**-2, "Q5_0": 2**-3, "Q4_1": 2 / 15}
    assert apart <= step.get(name, 2 / 31) * largest / 2 * 1.01
    assert name == "F32" or apart > 0
