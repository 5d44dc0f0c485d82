"""The same tasks on a Ray cluster: Ray Data carries the task numbers, and the files lie on a disk that all nodes see.

Ray starts a task anew when its node or worker is lost; the task's own watch file then tells which document was in
work (see `danlu.text.job`). The output is that of the local engine, because only files pass between the segments.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from danlu.base.errors import MissingExtra, UserError

Do = Callable[[dict[str, Any], dict[str, Any]], None]


def connect(address: str) -> None:
    """Join the cluster at ``address``, or start one on this machine if it is empty."""
    try:
        import ray
    except ModuleNotFoundError:
        raise MissingExtra("ray", "ray", "engine 'ray'") from None
    if ray.is_initialized():
        return
    try:
        ray.init(address=address or None, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"cannot join the Ray cluster ({first})", where=address or "ray", remedy="Is it up?") from None


def run(
    do: Do,
    hello: dict[str, Any],
    orders: Sequence[dict[str, Any]],
    *,
    workers: int,
    progress: Callable[[int], None],
) -> None:
    """Have every order done by ``do(hello, order)`` on the cluster, at most ``workers`` at a time (0: all cores).

    ``do`` has to be importable on every node, and must take an order that was done before for nothing to do.
    """
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    answered = ray.data.from_items([dict(order) for order in orders], override_num_blocks=len(orders)).map(
        _Doing(do, hello), num_cpus=1, concurrency=workers or None, max_retries=-1
    )
    for done, row in enumerate(answered.iter_rows(), 1):
        if row["problem"]:
            raise UserError(row["problem"], where=row["where"] or None, remedy=row["remedy"])
        progress(done)


class _Doing:
    """``do`` with its first argument, as a plain object that can travel."""

    def __init__(self, do: Do, hello: dict[str, Any]) -> None:
        self.do, self.hello = do, hello

    def __call__(self, order: dict[str, Any]) -> dict[str, Any]:
        try:
            self.do(self.hello, order)
        except UserError as error:
            return {"problem": error.what, "where": str(error.where or ""), "remedy": error.remedy}
        return {"problem": "", "where": "", "remedy": ""}
