"""Inference of the input range from the teacher's predictions on procedural samples in the usual ranges."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from zskd_onnx.system.randomness import rng_for
from zskd_onnx.teacher.classifier import Classifier
from zskd_onnx.teacher.probes.answers import PLAUSIBLE_SPREAD, Answers, summarise
from zskd_onnx.teacher.probes.candidate_domains import Candidate, candidate_domains
from zskd_onnx.teacher.probes.domain_samples import domain_samples
from zskd_onnx.teacher.signature.domain import Domain

USUAL_SPREAD = 3.5
"""Standard deviation of logits over samples in the right range: 2.9 to 5.8 on five teachers for images."""

SPREAD_WEIGHT = 0.1
"""Loss of score when the spread is e times ``USUAL_SPREAD``, or 1/e of it."""

SCALE_MARGIN, OFFSET_MARGIN, DOUBT_MARGIN = 0.05, 0.05, 0.15
"""Leads in score from which on a scale, or an offset, counts as inferred, and the range of an option is doubted."""

MANY_CLASSES = 5
"""Number of classes below which the histogram of classes does not tell an offset."""

TIE = 0.03
"""Difference in score below which the commoner range is taken."""

MOST_SAMPLES, FEWEST_SAMPLES, LEAST_FOR_OFFSET = 256, 4, 96
"""Samples in each range; with fewer than the last, the histogram of classes is too coarse to tell offsets."""

MULTIPLY_ADDS = 5e10
"""Work that the question may cost, about a second or two on one core."""

BATCH = 64
"""Largest number of samples that the teacher sees at a time."""


@dataclass(frozen=True)
class Trial:
    """A range and the predictions in it.

    Attributes:
        candidate: the range.
        answers: predictions on procedural samples there.
        score: relative entropy of the predicted classes, less what the logits' spread is away from the usual
            one. Few samples give a coarse histogram, so its entropy counts less.
    """

    candidate: Candidate
    answers: Answers

    @property
    def score(self) -> float:
        spread = self.answers.spread
        if not (math.isfinite(spread) and spread > 0):
            return -math.inf
        entropy = self.answers.entropy * min(1, self.answers.samples / LEAST_FOR_OFFSET)
        return entropy - SPREAD_WEIGHT * abs(math.log(spread / USUAL_SPREAD))

    @property
    def is_coarse(self) -> bool:
        """Whether there are too few samples for the histogram of classes to tell an offset."""
        return self.answers.samples < LEAST_FOR_OFFSET

    @property
    def is_plausible(self) -> bool:
        """Whether a trained teacher may give such predictions in its own range."""
        low, high = PLAUSIBLE_SPREAD
        return low <= self.answers.spread <= high and (self.is_coarse or self.answers.named > 1)


def ask_domain(classifier: Classifier) -> Domain:
    """The domain of a classifier whose file names no input range, inferred from its predictions.

    The teacher sees the same procedural samples in each of the usual ranges. In a range that is much too
    large its logits are huge, in one that is much too small it predicts one class: the scale can be told.
    Ranges of one scale differ by little; the predicted classes are spread most evenly in the right one,
    if not always clearly. Between ranges that tie, the commonest is taken. With a lead below ``OFFSET_MARGIN`` the offset counts
    as assumed. It always does for fewer than ``MANY_CLASSES``, and for vectors and sequences: random ones spread the classes of any
    teacher most evenly around 0.

    Returns:
        The domain with its range replaced and ``certainty`` set; unchanged where no range leads clearly.
    """
    trials = try_domains(classifier, candidate_domains(classifier.domain.shape, classifier.classes))
    best = max(trials, key=lambda trial: trial.score)
    rivals = [trial for trial in trials if trial.candidate.scale != best.candidate.scale]
    rival = max(rivals, key=lambda trial: trial.score)
    if not (best.is_plausible and best.score - rival.score >= SCALE_MARGIN):
        return classifier.domain
    has_offset = len(classifier.domain.shape) > 2 and classifier.classes >= MANY_CLASSES and not best.is_coarse
    same_scale = [trial for trial in trials if trial.candidate.scale == best.candidate.scale]
    chosen = next(trial for trial in same_scale if not has_offset or trial.score >= best.score - TIE)
    leading = [trial for trial in same_scale if trial.score >= best.score - OFFSET_MARGIN]
    certain = has_offset and all(trial.candidate.is_near(chosen.candidate) for trial in leading)
    others = [trial for trial in same_scale if trial is not chosen] or rivals
    runner_up = max(others, key=lambda trial: trial.score).candidate.name
    what = (
        "inferred from the teacher's predictions"
        if certain
        else "scale inferred from the teacher's predictions, offset assumed"
    )
    return replace(
        classifier.domain,
        low=chosen.candidate.low,
        high=chosen.candidate.high,
        range_source=f"{what}; runner-up: {runner_up}",
        certainty="inferred" if certain else "scale inferred",
    )


def doubt_domain(classifier: Classifier) -> Domain:
    """The domain of a classifier whose range an option gives, with a warning where its predictions contradict it.

    A classifier too costly for enough samples is not asked.
    """
    domain = classifier.domain
    own = Candidate(domain.range, domain.low, domain.high, "option")
    candidates = [own, *candidate_domains(domain.shape, classifier.classes)]
    if affordable_samples(classifier, len(candidates)) < LEAST_FOR_OFFSET:
        return domain
    trial, *others = try_domains(classifier, candidates)
    best = max(others, key=lambda other: other.score)
    if best.score - trial.score < DOUBT_MARGIN or not best.is_plausible:
        return domain
    doubt = (
        f"the teacher's predictions on procedural samples suggest the range {best.candidate.name}, not {domain.range}; "
        "check --input-range, --mean and --std"
    )
    return replace(domain, doubts=(*domain.doubts, doubt))


def affordable_samples(classifier: Classifier, ranges: int) -> float:
    """The number of samples in each of some ranges that ``MULTIPLY_ADDS`` allow."""
    return MULTIPLY_ADDS / max(1, classifier.cost.multiply_adds) / ranges


@torch.no_grad()
def try_domains(classifier: Classifier, candidates: list[Candidate]) -> list[Trial]:
    """The predictions on the same procedural samples in each range, in the order of the candidates.

    A costly classifier sees fewer samples, so that the work stays within ``MULTIPLY_ADDS``, and in the end one range of
    each scale.
    """
    domain, cost = classifier.domain, classifier.cost
    affordable = affordable_samples(classifier, len(candidates))
    if affordable < FEWEST_SAMPLES:
        candidates = list({candidate.scale: candidate for candidate in reversed(candidates)}.values())[::-1]
    count = int(min(MOST_SAMPLES, max(FEWEST_SAMPLES, affordable)))
    samples = domain_samples(count, domain.shape, rng_for(0, "input range"))
    size = cost.batch_size(BATCH)
    device = next((buffer.device for buffer in classifier.buffers()), None)
    trials = []
    for candidate in candidates:
        tried = replace(domain, low=candidate.low, high=candidate.high)
        parts = [classifier.logits(tried.to_file(part.to(device))) for part in samples.split(size)]
        trials.append(Trial(candidate, summarise(torch.cat(parts))))
    return trials
