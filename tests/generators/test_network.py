"""Generator networks, compared with the papers' table and with torch's own upsampling and convolution."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from zskd_onnx.errors import UsageError
from zskd_onnx.generators.network import build_generator

SHAPES = [
    *((1, 32, 32), (3, 32, 32), (3, 28, 28), (2, 9, 21), (1, 8, 8), (5, 3, 3), (1, 1, 1), (4, 33, 64), (3, 96, 96)),
    *((1, 1, 300), (6, 128), (2, 45), (1, 5)),
    *((1, 16, 16, 16), (2, 5, 12, 10)),
    *((64,), (1,), (1000,)),
]


def noise(count: int, length: int = 100) -> torch.Tensor:
    return torch.randn(count, length, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_samples_have_the_shape_and_lie_in_the_unit_space(shape: tuple[int, ...]) -> None:
    net = build_generator(shape, latent_dim=10, width=8)
    samples = net(noise(16, 10))
    assert samples.shape == (16, *shape)
    assert samples.min() > 0
    assert samples.max() < 1
    # Normalised over the batch before the sigmoid: mean 0 and variance 1 for each channel or feature.
    values = samples.logit().movedim(1, -1).flatten(0, -2)
    torch.testing.assert_close(values.mean(0), torch.zeros(shape[0]), atol=1e-2, rtol=0)
    torch.testing.assert_close(values.std(0, correction=0), torch.ones(shape[0]), atol=1e-2, rtol=0)


@pytest.mark.parametrize(("channels", "width"), [(3, 128), (1, 128), (1, 32)])
def test_number_of_parameters_of_the_papers_network(channels: int, width: int) -> None:
    """Table 3 of the replication's appendix B, with the image's channels in the last row."""
    half, first = width // 2, width * 8 * 8
    table = [
        *(100 * first + first, 2 * width),
        *(9 * width * width + width, 2 * width),
        *(9 * width * half + half, 2 * half),
        *(9 * half * channels + channels, 2 * channels),
    ]
    net = build_generator((channels, 32, 32), width=width)
    assert sum(p.numel() for p in net.parameters()) == sum(table)


@pytest.mark.parametrize("sides", [(32,), (29,), (32, 32), (30, 21), (16, 12, 9)])
def test_upsampling_and_convolution_are_computed_as_by_torch(sides: tuple[int, ...]) -> None:
    """A network of torch's modules with the same weights gives the same; odd sides drop their first position."""
    axes = len(sides)
    normalisation = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[axes - 1]
    convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    net = build_generator((2, *sides), latent_dim=10, width=8, output="linear")
    sizes = [tuple(math.ceil(side / part) for side in sides) for part in (4, 2, 1)]

    class Cropped(nn.Module):
        def __init__(self, size: tuple[int, ...]) -> None:
            super().__init__()
            self.size = size

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for axis, side in enumerate(self.size, 2):
                x = x.narrow(axis, x.shape[axis] - side, side)
            return x

    class ChannelsFirst(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(len(x), *sizes[0], 8).movedim(-1, 1)

    reference = nn.Sequential(
        *(nn.Linear(10, 8 * math.prod(sizes[0])), ChannelsFirst(), normalisation(8)),
        *(nn.Upsample(scale_factor=2), convolution(8, 8, 3, padding=1), Cropped(sizes[1])),
        *(normalisation(8), nn.LeakyReLU(0.2)),
        *(nn.Upsample(scale_factor=2), convolution(8, 4, 3, padding=1), Cropped(sizes[2])),
        *(normalisation(4), nn.LeakyReLU(0.2)),
        *(convolution(4, 2, 3, padding=1), normalisation(2)),
    )
    reference.double()
    net.double()
    with torch.no_grad():
        for expected_weight, weight in zip(reference.parameters(), net.parameters(), strict=True):
            expected_weight.copy_(weight)
    z = noise(6, 10).double()
    samples, expected = net(z), 0.5 + 0.25 * reference(z)
    torch.testing.assert_close(samples, expected)
    for loss in (samples.pow(3).sum(), expected.pow(3).sum()):
        loss.backward()
    for expected_weight, weight in zip(reference.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, expected_weight.grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("side", [31, 32, 33, 64, 65, 224])
def test_the_first_map_is_small_for_any_image_size(side: int) -> None:
    net = build_generator((3, side, side), width=32)
    positions = next(m for m in net if isinstance(m, nn.Linear)).out_features // 32
    assert 4 <= math.sqrt(positions) <= 8
    assert net(noise(2)).shape == (2, 3, side, side)


def test_linear_output_is_centred_and_unbounded() -> None:
    samples = build_generator((3, 16, 16), output="linear", width=16)(noise(64))
    torch.testing.assert_close(samples.mean(), torch.tensor(0.5), atol=1e-3, rtol=0)
    torch.testing.assert_close(samples.std(), torch.tensor(0.25), atol=1e-3, rtol=0)
    assert samples.min() < 0
    assert samples.max() > 1


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 20), (2, 8, 8, 8), (30,)])
def test_every_weight_has_a_gradient(shape: tuple[int, ...]) -> None:
    net = build_generator(shape, width=8)
    (net(noise(8)) * torch.linspace(0, 1, math.prod(shape)).view(shape)).sum().backward()
    # Gradients of biases before a batch normalisation are 0.
    assert all(p.grad is not None and p.grad.abs().max() > 1e-7 for p in net.parameters() if p.ndim > 1)


def test_the_same_seed_gives_the_same_weights() -> None:
    def weights(seed: int) -> torch.Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.utils.parameters_to_vector(build_generator((1, 12, 12), width=8).parameters())

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_training_uses_batch_statistics_and_inference_running_ones() -> None:
    net, z = build_generator((1, 8, 8), width=8), noise(128)
    assert net.training
    with torch.no_grad():
        assert not torch.allclose(net(z)[:2], net(z[:2]), atol=1e-2)
        for _ in range(60):
            in_training = net(z)
        net.eval()
        torch.testing.assert_close(net(z), in_training, rtol=0, atol=1e-2)
        torch.testing.assert_close(net(z)[:2], net(z[:2]), rtol=0, atol=1e-5)


def test_images_are_in_channels_last_format() -> None:
    assert build_generator((3, 20, 20), width=8)(noise(2)).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("shape", "width", "message"),
    [
        ((1, 100_000, 100_000), 32, r"width 32 .* \(1, 100000, 100000\) is too large .* lower generator.width"),
        ((10**9,), 32, "too large"),
        ((3, 32, 32), 100_000, "too large"),
        ((1, 2, 3, 4, 5), 8, "not samples of shape"),
        ((), 8, "not samples of shape"),
    ],
)
def test_unsupported_shapes_and_sizes_are_errors(shape: tuple[int, ...], width: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_generator(shape, width=width)


def test_clipped_output() -> None:
    """It is bounded, with half of the values at 0, and the gradient passes straight through."""
    clipped = build_generator((1, 16, 16), output="clip", width=16)
    z = noise(64)
    samples = clipped(z)
    assert samples.min() == 0
    assert samples.max() == 1
    assert 0.4 < float((samples == 0).float().mean()) < 0.6
    weight = clipped[-2].weight  # of the last normalisation: v = weight * normalised + bias
    (gradient,) = torch.autograd.grad(samples.sum(), clipped[-2].bias)
    torch.testing.assert_close(gradient, torch.full_like(weight, float(samples.numel())))
