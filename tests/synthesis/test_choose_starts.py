"""The choice of procedural images by the teacher's predictions."""

from __future__ import annotations

import torch

from zskd_onnx.procedural.drawn_images import DrawnImages
from zskd_onnx.procedural.settings import Procedural
from zskd_onnx.synthesis.choose_starts import choose_starts
from zskd_onnx.synthesis.impressions import Impressions
from zskd_onnx.teacher.probes.outputs import TeacherView
from zskd_onnx.teacher.teacher import Teacher

IMAGES = DrawnImages(Procedural(level_lines=0.5, objects=0.5), (1, 8, 8))


def test_each_class_gets_the_first_images_that_the_teacher_predicts_as_it(digits: Teacher) -> None:
    """Beside a sort of all candidates at a time. The last class is rare, and gets the most probable ones, too."""
    view, count, candidates = TeacherView(digits), 60, 4
    classes = torch.tensor([0, 3, 9]).repeat(count // 3)
    rng = torch.Generator().manual_seed(5)
    drawn = [
        IMAGES.draw(count, rng)[torch.randperm(count, generator=rng)] for _ in range(candidates)
    ]  # draws are the same, one after the other
    every = torch.cat(drawn)
    probabilities = view.logits(every).detach().softmax(1)
    expected = torch.empty(count, *IMAGES.shape)
    for number in (0, 3, 9):
        predicted = [i for i in range(len(every)) if probabilities[i].argmax() == number]
        others = sorted(set(range(len(every))) - set(predicted), key=lambda i: -float(probabilities[i, number]))
        rows = (classes == number).nonzero().flatten()
        assert number != 9 or 0 < len(predicted) < len(rows)
        expected[rows] = every[(predicted + others)[: len(rows)]]
    chosen = choose_starts(IMAGES, view, classes, candidates, torch.Generator().manual_seed(5), 25)
    for number in (0, 3, 9):  # in any order within a class
        mine, theirs = (sorted(map(tuple, x[classes == number].flatten(1).tolist())) for x in (chosen, expected))
        assert mine == theirs


def test_impressions_start_from_their_class(digits: Teacher) -> None:
    targets = torch.eye(10).repeat(20, 1)
    agreement = {}
    for candidates in (1, 8):
        settings = Impressions(start="procedural", candidates=candidates)
        start = settings.starts(digits, IMAGES, targets, torch.Generator().manual_seed(0))
        assert start is not None
        agreement[candidates] = (TeacherView(digits).logits(start).argmax(1) == targets.argmax(1)).float().mean()
    assert agreement[1] < 0.2
    assert agreement[8] > 0.6
    assert Impressions().starts(digits, IMAGES, targets, torch.Generator()) is None
