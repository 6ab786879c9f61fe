"""What every tracker does, and the choice of one by its name."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from zskd_onnx.errors import MissingExtraError, UsageError
from zskd_onnx.events import Event, Listener

if TYPE_CHECKING:
    from zskd_onnx.pipeline.result import CompressionResult


class Tracker(Protocol):
    """A listener that sends figures to a tracker while a run lasts, and its result at the end.

    with MlflowTracker() as tracker:
        tracker.finish(compress("teacher.onnx", "out", listener=tracker))
    """

    def __call__(self, event: Event) -> None:
        """Record the figures of an event."""

    def finish(self, result: CompressionResult) -> None:
        """Record the settings, figures and files of a run that has ended."""

    def __enter__(self) -> Tracker: ...

    def __exit__(self, *error: object) -> None: ...


TRACKERS = {
    "tensorboard": ("zskd_onnx.tracking.tensorboard_tracker", "TensorBoardTracker", "tensorboard"),
    "mlflow": ("zskd_onnx.tracking.mlflow_tracker", "MlflowTracker", "mlflow"),
}
"""Tracker -> module and name of its class, and the package that it needs."""


def check_trackers(names: Iterable[str]) -> None:
    """Raise an error unless each tracker exists and its package is installed.

    Raises:
        UsageError: there is no such tracker.
        MissingExtraError: its package is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise UsageError(f"--track '{name}': expected {' or '.join(TRACKERS)}")
        if importlib.util.find_spec(TRACKERS[name][2]) is None:
            raise MissingExtraError(f"--track {name} needs an extra; run pip install 'zskd-onnx[{name}]'")


@contextmanager
def tracked(
    names: Iterable[str], output: Path, listener: Listener
) -> Iterator[tuple[Listener, Callable[[CompressionResult], None]]]:
    """A listener that calls ``listener`` and the named trackers, and the function that gives them the result.

    A tracker that fails, such as one whose server is gone, is left out from then on. The run goes on, and
    ``listener`` gets a note.

    Args:
        output: folder of the run.
    """
    with ExitStack() as stack:
        trackers: dict[str, Tracker] = {}
        for name in names:
            module, kind, _ = TRACKERS[name]
            trackers[name] = stack.enter_context(getattr(importlib.import_module(module), kind)(output))

        def each(call: Callable[[Tracker], None]) -> None:
            for name, tracker in list(trackers.items()):
                try:
                    call(tracker)
                except Exception as error:
                    del trackers[name]
                    reason = " ".join(str(error).split())[:300]
                    listener(Event("note", "tracking", f"{name} failed and gets no more figures ({reason})"))

        def listen(event: Event) -> None:
            listener(event)
            each(lambda tracker: tracker(event))

        yield listen, lambda result: each(lambda tracker: tracker.finish(result))
