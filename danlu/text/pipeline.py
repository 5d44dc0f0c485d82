"""Steps in order, one document at a time: nothing is held in memory and nothing vanishes uncounted.

Left out: worker processes and resuming inside a run. On one core the thin refinery moves tens of megabytes a
second; more engines come with heavier steps, over this same contract.
"""

from collections.abc import Iterable, Iterator, Mapping

from danlu.text.document import Document, Dropped, Step
from danlu.text.report import Flow, Funnel


def run(documents: Iterable[Document], steps: Mapping[str, Step], funnel: Funnel) -> Iterator[Document]:
    """The documents that every step handed on; ``funnel`` counts the rest by step and reason.

    ``steps`` maps the name that the report shows to the step, in the order in which they run.
    """
    for name in steps:
        funnel.steps.setdefault(name, Flow())  # a step that no document reached is still a line of the report
    for document in documents:
        kept = _through(document, steps, funnel)
        if kept is not None:
            yield kept


def _through(document: Document, steps: Mapping[str, Step], funnel: Funnel) -> Document | None:
    for name, step in steps.items():
        result = step(document)
        if isinstance(result, Dropped):
            funnel.drop(name, document, result.reason)
            return None
        funnel.kept(name, document, result)
        document = result
    return document
