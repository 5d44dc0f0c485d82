"""The report page of a run, where matplotlib is installed; one line that says what is missing where not."""

from pathlib import Path

from danlu.base.errors import MissingExtra
from danlu.base.progress import say


def report(run: Path) -> None:
    """Write ``report.html`` and its plots."""
    from danlu.evaluate.report import write_report

    try:
        say(f"report: {write_report(run)}")
    except MissingExtra as missing:
        say(f"no report: {missing}")
