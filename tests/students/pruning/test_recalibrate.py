"""Recalibration of batch normalisations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zskd_onnx.students.pruning.recalibrate import recalibrate


def test_statistics_change_and_the_function_does_not() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(4 * 36, 6), nn.ReLU(), nn.BatchNorm1d(6, eps=0.01), nn.Linear(6, 3)),
    )
    samples = torch.rand(700, 2, 8, 8)
    with torch.no_grad():
        net[1].weight.uniform_(0.5, 2)
        net[6].bias.normal_()
    before = net.eval()(samples)
    recalibrate(net.train(), samples.half().split(256))
    assert net.training
    first = net[0](samples)
    torch.testing.assert_close(net[1].running_mean, first.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(net[1].running_var, first.var((0, 2, 3), correction=0), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(net(samples), before, rtol=1e-2, atol=1e-2)  # with the batch's own statistics
    torch.testing.assert_close(net.eval()(samples), before, rtol=1e-2, atol=1e-2)


def test_a_student_without_batch_normalisation_is_unchanged() -> None:
    net = nn.Linear(3, 2)
    before = net.weight.clone()
    recalibrate(net, [torch.rand(5, 3)])
    assert torch.equal(net.weight, before)


def test_a_batch_normalisation_that_is_not_used_is_unchanged() -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.BatchNorm1d(3), nn.BatchNorm1d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    net = Unused()
    recalibrate(net, [torch.rand(50, 3)])
    assert net.used.running_mean.any()
    assert not net.unused.running_mean.any()


def test_an_error_in_the_forward_pass_restores_mode_and_hooks() -> None:
    net = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)).train()
    with pytest.raises(RuntimeError):
        recalibrate(net, [torch.rand(8, 5)])
    assert net.training
    assert not net[0]._forward_pre_hooks
