"""The samples of a run: stored ones, held-out ones, and the sources of each training stage."""

from __future__ import annotations

import torch
from torch import Tensor

from zskd_onnx.data.transfer_set import Samples
from zskd_onnx.distillation.batches import ProceduralImages, Sources, StoredSamples
from zskd_onnx.distillation.settings import Distillation
from zskd_onnx.generators.train import GeneratorTraining
from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.system.randomness import rng_for
from zskd_onnx.system.rows import in_memory
from zskd_onnx.teacher.probes.outputs import BATCH, TeacherView

DRAWN = 128
"""Procedural images that are drawn together, as in a batch of training: lines of one batch are equally far apart."""


def split_samples(plan: Plan, samples: Samples | None) -> tuple[list[StoredSamples], Tensor]:
    """The stored samples to train on, and the held-out samples (N, *shape), which may be none.

    Real samples are held out only where nothing is synthesised, and then at most a tenth of them.
    """
    held_out, stored = torch.zeros((0, *plan.teacher.domain.shape), dtype=torch.float16), []
    count = plan.recipe.held_out
    if samples is not None:
        held_out = in_memory(samples.inputs[:count])
        stored.append(StoredSamples("transfer_set", samples.inputs[count:], None, 0))
    if plan.data is not None:
        inputs, labels = plan.data.inputs, plan.data.labels
        first = min(count, max(1, len(inputs) // 10)) if holds_out_real_samples(plan, samples) else 0
        if first:
            held_out = inputs[:first]
        stored.append(StoredSamples("data", inputs[first:], None if labels is None else labels[first:], 0))
    if not len(held_out) and plan.recipe.generator is None:
        held_out = held_out_images(plan, count)
    return stored, held_out


def holds_out_real_samples(plan: Plan, samples: Samples | None) -> bool:
    """Whether the held-out samples are real: where nothing is synthesised, generated or drawn."""
    recipe = plan.recipe
    return plan.data is not None and samples is None and recipe.generator is None and recipe.procedural is None


def held_out_kind(plan: Plan, samples: Samples | None) -> str:
    """What the held-out samples are, in words."""
    if samples is not None:
        return "synthesised samples"
    if holds_out_real_samples(plan, samples):
        return "real samples"
    return "generated samples" if plan.recipe.generator is not None else "procedural images"


def as_trained(plan: Plan, samples: Tensor, settings: Distillation, purpose: str, *, real: bool) -> Tensor:
    """Samples (N, *shape) as training shows them to the student: some give way to procedural images, all are augmented.

    A student is selected on samples like those that it is trained on. On samples as they were synthesised, an
    early state looks best that has not seen what augmentation adds, and real samples are nearer to that.

    Args:
        purpose: of the random draws.
        real: whether the samples are real.
    """
    recipe, images = plan.recipe, plan.images
    natural, parts = is_natural(plan), []
    drawn = 0
    if images is not None and not real:
        shares = settings.shares(recipe.sources(plan.data is not None), images.share)
        drawn = round(len(samples) * shares["procedural"] / settings.batch_size)
    of_others = settings.augmentation.beside(drawn / max(1, len(samples)))
    for i, part in enumerate(samples[: len(samples) - drawn].split(BATCH) if drawn < len(samples) else ()):
        rng = rng_for(recipe.seed, purpose, i)
        parts.append(of_others.apply(part.float(), rng, natural=natural, intact=real).half())
    for first in range(0, drawn, DRAWN):
        assert images is not None
        rng = rng_for(recipe.seed, purpose, "procedural", first)
        x = images.draw(min(DRAWN, drawn - first), rng)
        parts.append(settings.augmentation.of_all.apply(x, rng, natural=natural, intact=True).half())
    return torch.cat(parts)


def shown_samples(plan: Plan, stored: list[StoredSamples], settings: Distillation, purpose: str, count: int) -> Tensor:
    """At most ``count`` samples as the student is trained on, apart from those of a generator.

    Args:
        stored: see ``split_samples``.
        purpose: of the random draws.
    """
    if stored:
        samples = in_memory(stored[0].inputs[:count])
    else:
        samples = torch.rand((count, *plan.teacher.domain.shape), generator=rng_for(plan.recipe.seed, purpose, "noise"))
    return as_trained(plan, samples, settings, purpose, real=bool(stored) and stored[0].real)


def is_natural(plan: Plan) -> bool:
    """Whether the run takes the teacher's inputs for natural images."""
    return plan.images is not None and plan.images.natural


def held_out_images(plan: Plan, count: int) -> Tensor:
    """Procedural images (count, *shape), float16, to hold out where a run has no other samples."""
    assert plan.images is not None
    parts = [
        plan.images.draw(min(DRAWN, count - first), rng_for(plan.recipe.seed, "held-out images", first)).half()
        for first in range(0, count, DRAWN)
    ]
    return torch.cat(parts)


def stage_sources(
    plan: Plan,
    stored: list[StoredSamples],
    settings: Distillation,
    view: TeacherView,
    steps: int,
    previous: GeneratorTraining | None,
) -> Sources:
    """The sources of a stage, each with its share of a batch.

    Args:
        previous: the generator of an earlier stage, whose training continues.
    """
    recipe = plan.recipe
    share_of_images = 0.0 if plan.images is None else plan.images.share
    shares = settings.shares(recipe.sources(plan.data is not None), share_of_images)
    parts = []
    for part in stored:
        share = shares[part.kind]
        # A batch of one source never holds a sample twice.
        size = min(share, len(part.inputs)) if share == settings.batch_size else share
        if size:
            parts.append(StoredSamples(part.kind, part.inputs, part.labels, size))
    images = None
    if plan.images is not None and shares["procedural"]:
        images = ProceduralImages(plan.images, shares["procedural"])
    generator = None
    if recipe.generator is not None and shares["generator"]:
        generator = GeneratorTraining(
            recipe.generator,
            plan.teacher,
            view,
            batch=shares["generator"],
            steps=steps,
            seed=recipe.seed,
            device=plan.device,
        )
        if previous is not None:
            generator.load_state_dict(previous.state_dict())
    return Sources(tuple(parts), images, generator, is_natural(plan))
