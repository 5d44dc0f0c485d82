"""One dial for the shape, and where each number of it comes from."""

import dataclasses

import pytest

from danlu.base.errors import UserError
from danlu.recipes.shape import Shape
from danlu.recipes.sizes import explain, parse_count, shape, sized


@pytest.mark.parametrize(("text", "number"), [("300K", 300_000), ("10m", 10**7), (" 1.5B ", 1_500_000_000), ("7", 7)])
def test_counts(text: str, number: int) -> None:
    assert parse_count(text) == number


@pytest.mark.parametrize("text", ["", "0", "-3M", "ten", "3 M B"])
def test_counts_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="is not a number such as"):
        parse_count(text)


@pytest.mark.parametrize("size", ["100K", "1M", "4.5M", "10M", "30M", "124M"])
def test_no_other_depth_comes_nearer(size: str) -> None:
    found, wanted = sized(size, 8192, 512), parse_count(size)
    others = [shape(depth, 8192, 512).parameters() for depth in range(1, found.layers + 4)]
    assert abs(found.parameters() - wanted) == min(abs(other - wanted) for other in others)


def test_with_a_part_of_the_shape_given_the_rest_makes_the_size() -> None:
    three = Shape(layers=3).apply
    found = three(sized("5M", 2048, 512, three))
    assert (found.layers, found.width) == (3, 320)
    assert found.parameters() == pytest.approx(5e6, rel=0.05)
    narrow = Shape(width=16, head_width=16).apply
    assert [narrow(sized(size, 300, 32, narrow)).layers for size in ("14K", "18K", "26K")] == [1, 2, 4]
    both = Shape(layers=3, width=64).apply
    assert both(sized("1B", 2048, 512, both)).width == 64  # it ends, though no depth changes anything


def test_each_number_of_a_shape_has_a_source() -> None:
    config = sized("10M", 8192, 512)
    found = explain(config)
    assert {name: item.value for name, item in found.items() if name != "parameters"} == {
        "layers": 5,
        "width": 320,
        "heads": 5,
        "kv_heads": 5,
        "head_width": 64,
        "feedforward": 896,
    }
    assert "Kaplan et al. 2020" in found["width"].source
    assert found["parameters"].value == config.parameters()
    assert f"{config.matrix_parameters():,}" in found["parameters"].source


def test_what_was_given_is_said_to_be() -> None:
    config = sized("10M", 8192, 512)
    found = explain(dataclasses.replace(config, layers=7), config)
    assert [name for name, item in found.items() if item.source == "given"] == ["layers"]
