"""The duration of a synthesis, from a short real one on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice, pairwise

import torch

from zskd_onnx.pipeline.judge_samples import judged_count
from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.pipeline.time_span import NOTHING, Span
from zskd_onnx.synthesis.base import OnStep, Synthesis
from zskd_onnx.synthesis.fill import synthesis_threads
from zskd_onnx.synthesis.impressions import USUAL_PASSES
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.system.ranks import ranks
from zskd_onnx.system.threads import map_in_order
from zskd_onnx.teacher.probes.outputs import TeacherView

WORK_OF_A_SECOND = 1e10
"""Multiply-adds of a teacher that a core does in about a second, with gradients."""

BATCHES = 12
"""Batches on each thread after which a duration is known well enough."""


class _OutOfTime(Exception):
    """A batch was not finished in the time for the measurement."""


def time_synthesis(plan: Plan, seconds: float) -> Span:
    """The duration of a plan's synthesis and of the judgement of its samples.

    Samples are made as in the run, on as many threads, in batches that may be smaller where the teacher is costly. A batch that
    is not finished in time is extrapolated by its passes: the usual number of samples that stop early, and at most all.

    Args:
        seconds: for the measurement; each thread makes one pass at least.
    """
    synthesis, teacher = plan.recipe.synthesis, plan.teacher.to(plan.device)
    assert synthesis is not None
    threads = synthesis_threads(teacher, synthesis.effective_batch_size, plan.device)
    timing = _Timing(plan, synthesis, time.monotonic() + seconds)
    first = max(1, threads)
    with closing(map_in_order(timing, timing.numbers(), threads, ahead=0)) as batches:
        made = list(islice(batches, BATCHES * first))
    finished = [one for one in made if isinstance(one, float)]
    # The first batch of each thread warms it up. A batch that was cut off counts where none was finished.
    cut_off = [one for one in made if isinstance(one, Span)]
    of_sample = Span.of(finished[first:] or finished) if finished else sum(cut_off, NOTHING) * (1 / len(cut_off))
    chunk = synthesis.chunk_size(teacher)
    chunks = -(-(synthesis.count + plan.recipe.held_out) // chunk)
    span = of_sample * (chunk * -(-chunks // (first * ranks().count)))
    judged = min(judged_count(plan), chunk * chunks)
    return span + Span.of([timing.forward_seconds()]) * judged


class _Timing:
    """Makes batches of samples and times them."""

    def __init__(self, plan: Plan, synthesis: Synthesis, end: float) -> None:
        """``end``: of the measurement, seconds of ``time.monotonic``."""
        self.plan, self.synthesis, self.end = plan, synthesis, end
        self.usual_passes = min(synthesis.passes, USUAL_PASSES) if synthesis.ends_early else synthesis.passes
        whole = self.usual_passes if synthesis.ends_early else 1  # the part of a batch that should be finished in time
        fits = WORK_OF_A_SECOND / max(1, plan.teacher.cost.multiply_adds * whole)
        self.size = int(min(synthesis.chunk_size(plan.teacher), 2 * synthesis.effective_batch_size, max(1, fits)))
        self.view = TeacherView(plan.teacher)
        self.draw = None if plan.recipe.prior is None else plan.recipe.prior.sampler(plan.teacher)

    def numbers(self) -> Iterator[int]:
        """The number of the first sample of each batch, until the time is up."""
        first = 0
        while not first or time.monotonic() < self.end:
            yield first
            first += self.size

    def __call__(self, first: int) -> float | Span:
        """Make the batch whose first sample has this number: seconds for one sample, a range for a batch that is not finished."""
        begin, steps = time.perf_counter(), list[float]()

        def on_step() -> None:
            steps.append(time.perf_counter())
            if len(steps) > 1 and time.monotonic() > self.end:
                raise _OutOfTime

        try:
            self._make(first, on_step)
            return (time.perf_counter() - begin) / self.size
        except _OutOfTime:
            span = Span.of([after - before for before, after in pairwise(steps)])
            turns = -(-self.size // self.synthesis.effective_batch_size)  # of slots that hold one sample after another
            passes = (self.usual_passes * turns, self.usual_passes * turns, self.synthesis.passes * turns)
            whole = (one * count for one, count in zip((span.low, span.usual, span.high), passes, strict=True))
            return Span(*((steps[0] - begin + one) / self.size for one in whole))

    def _make(self, first: int, on_step: OnStep) -> None:
        """The samples of a batch, as ``fill`` makes them."""
        plan, synthesis, teacher = self.plan, self.synthesis, self.plan.teacher
        rng = rng_for(plan.recipe.seed, "estimate", first, device=plan.device)
        targets = torch.zeros((self.size, teacher.classes))
        if self.draw is not None:
            targets = self.draw(first, self.size, rng_for(plan.recipe.seed, "estimate", first))
        targets = targets.to(plan.device)
        start = synthesis.starts(teacher, plan.images, targets, rng)
        made = synthesis.make(teacher, targets, rng, None, on_step, start)
        if self.draw is None:
            self._answer(made)

    @torch.no_grad()
    def _answer(self, x: torch.Tensor) -> None:
        self.view.logits(x).softmax(1).cpu()

    def forward_seconds(self) -> float:
        """Seconds of the teacher's predictions for one sample."""
        x = torch.full((self.size, *self.plan.teacher.domain.shape), 0.5, device=self.plan.device)
        begin = time.perf_counter()
        self._answer(x)
        return (time.perf_counter() - begin) / self.size
