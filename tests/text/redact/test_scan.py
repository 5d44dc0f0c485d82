"""The scan against the regular expressions that it stands for."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text.redact.scan import LONG_RUN, scan

anything = st.text(st.one_of(st.sampled_from("0123456789 -.()aZ_中，\n"), st.characters()), max_size=120)


@settings(max_examples=300, deadline=None)
@given(st.one_of(anything, st.text("0123 -.a中", max_size=80)))
def test_the_same_as_by_regular_expression(text: str) -> None:
    seen = scan(text)
    for places, fewest in ((seen.numbers, 7), (seen.dotted, 4)):
        groups = re.finditer(rf"[0-9](?:[^0-9]{{0,3}}[0-9]){{{fewest - 1},}}", text)
        assert places == [group.span() for group in groups]
    assert seen.runs == [run.span() for run in re.finditer(rf"[A-Za-z0-9_.-]{{{LONG_RUN},}}", text)]
