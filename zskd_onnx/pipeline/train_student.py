"""The student's training as a recipe has it: from which samples, in which stages."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zskd_onnx.data.transfer_set import Samples
from zskd_onnx.distillation.batches import Sources, Stored
from zskd_onnx.distillation.checkpoint import Checkpoint
from zskd_onnx.distillation.selection import Checks, Comparison, Score, compare
from zskd_onnx.distillation.settings import Distillation
from zskd_onnx.distillation.train import distil
from zskd_onnx.errors import UnsupportedTeacherError
from zskd_onnx.events import Event, Listener
from zskd_onnx.generators.train import GeneratorTraining
from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.students.activations import Observed
from zskd_onnx.students.pruning.inherit import inherit
from zskd_onnx.system.randomness import generator_for
from zskd_onnx.teacher.probes.outputs import Asking
from zskd_onnx.teacher.probes.probe import blocks_probe, features_probe
from zskd_onnx.version import __version__

PART = 512
INHERITED = 4096
"""Samples by which a student's start is chosen."""

STAGES = ("distillation", "fine-tuning")


@dataclass(frozen=True)
class Learned:
    """What training gave, beside the student itself.

    Attributes:
        comparison: with the teacher, on held-out samples.
        held_out: those samples, (N, *shape) in the unit space.
        history: what was measured of the student on the way, a list for each stage.
        chosen: of each stage, the step whose weights were kept.
    """

    comparison: Comparison
    held_out: Tensor
    history: dict[str, list[dict[str, Any]]]
    chosen: dict[str, int]


def learn(plan: Plan, samples: Samples | None, checkpoint: Path, listener: Listener) -> Learned:
    """Train the plan's student in place.

    Args:
        samples: the transfer set, or None.
        checkpoint: file that holds the state of training; it is the caller's to remove, once the student is safe.
    """
    recipe = plan.recipe
    kept = Checkpoint(checkpoint, _identity(plan, samples))
    saved = kept.load(plan.device)
    stages = [(name, one) for name, one in zip(STAGES, (recipe.distillation, recipe.fine_tuning), strict=True) if one]
    history: dict[str, list[dict[str, Any]]] = {}
    chosen: dict[str, int] = {}
    if saved is not None and saved["stage"] == "fine-tuning":
        stages = stages[1:]
        history, chosen = saved["earlier"]["history"], saved["earlier"]["chosen"]
    generator: GeneratorTraining | None = None
    stored, held_out = _stored(plan, samples)
    growing = not len(held_out)
    real = samples is None and not growing
    if plan.inherits and saved is None:
        listener(Event("note", "distillation", "choosing which of the teacher's channels the student starts from"))
        _inherit(plan, stored, stages[0][1])
    for stage, settings in stages:
        kept.earlier = {"history": dict(history), "chosen": dict(chosen)}
        ask, observed = _asking(plan, settings, listener)
        steps = settings.steps(sum(len(part.inputs) for part in stored))
        sources = _sources(plan, stored, settings, ask, steps, generator)
        seen = _as_seen(held_out, settings, recipe.seed, "held out", real=real)
        checks = Checks(plan.teacher, seen, _watch(plan), temperature=settings.temperature, growing=growing)
        distil(
            plan.student,
            sources,
            ask,
            settings,
            steps,
            recipe.seed,
            observed=observed,
            checks=checks,
            checkpoint=kept,
            stage=stage,
            listener=listener,
        )
        generator = sources.generator or generator
        if not len(held_out):
            held_out = checks.held_out
        if not len(held_out) and generator is not None:
            held_out = generator.samples(recipe.held_out, "held out").cpu()
        history[stage], chosen[stage] = checks.history, checks.chosen
    return Learned(compare(plan.student, plan.teacher, held_out), held_out, history, chosen)


def _identity(plan: Plan, samples: Samples | None) -> str:
    """What a checkpoint depends on, as a digest."""
    content = {
        "version": __version__,
        "recipe": plan.recipe.model_dump(mode="json", exclude={"name", "summary", "paper", "expected", "deployment"}),
        "student": plan.choice.name,
        "weights": {name: list(value.shape) for name, value in plan.student.state_dict().items()},
        "teacher": plan.teacher.identity,
        "samples": None if samples is None else digest(samples.inputs),
        "data": None if plan.data is None else [digest(plan.data.inputs), digest(plan.data.labels)],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def digest(values: Tensor | None) -> str | None:
    """SHA-256 of a tensor on the CPU."""
    return None if values is None else hashlib.sha256(values.contiguous().numpy().data).hexdigest()


def _stored(plan: Plan, samples: Samples | None) -> tuple[list[Stored], Tensor]:
    """What is there before training, and what of it is held out.

    Real samples are held out only where nothing is synthesised, and then no more than a tenth of them.
    """
    held_out, stored = torch.zeros((0, *plan.teacher.domain.shape), dtype=torch.float16), []
    apart = plan.recipe.held_out
    if samples is not None:
        held_out = samples.inputs[:apart]
        stored.append(Stored("transfer_set", samples.inputs[apart:], None, 0))
    if plan.data is not None:
        inputs, labels = plan.data.inputs, plan.data.labels
        first = min(apart, max(1, len(inputs) // 10)) if samples is None and plan.recipe.generator is None else 0
        if first:
            held_out = inputs[:first]
        stored.append(Stored("data", inputs[first:], None if labels is None else labels[first:], 0))
    return stored, held_out


def _inherit(plan: Plan, stored: list[Stored], settings: Distillation) -> None:
    """Let the student start from those of the teacher's channels that matter for what it will be shown."""
    seed, purpose = plan.recipe.seed, "inherit"
    if stored:
        samples = stored[0].inputs[:INHERITED]
    else:
        samples = torch.rand((INHERITED, *plan.teacher.domain.shape), generator=generator_for(seed, purpose, "noise"))
    seen = _as_seen(samples, settings, seed, purpose, real=bool(stored) and stored[0].real)
    inherit(plan.student, plan.teacher, seen, generator_for(seed, purpose, "positions"))


def _as_seen(samples: Tensor, settings: Distillation, seed: int, purpose: str, *, real: bool) -> Tensor:
    """Stored samples as training shows them to the student.

    A student is chosen on what it is trained for. On samples as they were synthesised an early one looks
    best that knows nothing of what augmentation adds, and that is where real samples lie.
    """
    parts = [
        settings.augmentation.apply(part.float(), generator_for(seed, purpose, i), real=real).half()
        for i, part in enumerate(samples.split(PART))
    ]
    return torch.cat(parts)


def _asking(plan: Plan, settings: Distillation, listener: Listener) -> tuple[Asking, Observed | None]:
    """Both sides as losses look at them: with blocks where attention transfer finds some that match, features for hints."""
    teacher, student, shape = plan.teacher, plan.student, plan.teacher.domain.shape

    def left_out(what: str, why: str) -> None:
        listener(Event("note", "distillation", f"{what} left out: {why}"))

    blocks = None
    if settings.attention:
        try:
            blocks = blocks_probe(teacher)
        except UnsupportedTeacherError:
            left_out("attention transfer is", "the teacher has no activation map of a convolution")
    features = features_probe(teacher) if settings.hints and teacher.head is not None else None
    if blocks is None and not settings.hints:
        return Asking(teacher), None
    sizes = () if blocks is None else blocks.sizes
    observed = Observed(student, shape, sizes=sizes, features=features is not None)

    if blocks is not None and not observed.sizes:
        left_out("attention transfer is", "no block of the student has the spatial size of one of the teacher's")
        blocks = None
    if settings.hints and observed.features is None:
        left_out("hints are", f"the {'teacher' if features is None else 'student'} has no final fully connected layer")
        features = None
    return Asking(teacher, blocks, observed.sizes, features), observed


def _watch(plan: Plan) -> Score | None:
    """Accuracy of a student on the samples that the user scores on; written down, it chooses nothing."""
    if plan.evaluation is None:
        return None
    domain, y = plan.teacher.domain, torch.from_numpy(plan.evaluation.y)
    x = torch.from_numpy(plan.evaluation.x)

    @torch.no_grad()
    def accuracy(student: nn.Module) -> float:
        parts = (student(domain.to_unit(part.to(plan.device))).argmax(1).cpu() for part in x.split(PART))
        return float((torch.cat(list(parts)) == y).float().mean())

    return accuracy


def _sources(
    plan: Plan,
    stored: list[Stored],
    settings: Distillation,
    ask: Asking,
    steps: int,
    before: GeneratorTraining | None,
) -> Sources:
    """Each source with its share of a batch; ``before`` is the generator of an earlier stage, to go on from."""
    recipe = plan.recipe
    shares = settings.shares(recipe.sources(plan.data is not None))
    parts = []
    for part in stored:
        share = shares[part.name]
        # One source alone never shows a sample twice in a batch.
        size = min(share, len(part.inputs)) if share == settings.batch_size else share
        if size:
            parts.append(Stored(part.name, part.inputs, part.labels, size))
    generator = None
    if recipe.generator is not None and shares["generator"]:
        generator = GeneratorTraining(
            recipe.generator,
            plan.teacher,
            ask,
            batch=shares["generator"],
            steps=steps,
            seed=recipe.seed,
            device=plan.device,
        )
        if before is not None:
            generator.load_state_dict(before.state_dict())
    return Sources(tuple(parts), generator)
