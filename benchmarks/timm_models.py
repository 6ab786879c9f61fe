# /// script
# dependencies = ["timm>=1.0", "torchvision"]
# ///
"""Export timm's architectures to ONNX with both of torch's exporters, and store reference gradients.

    python benchmarks/timm_models.py [--only resnet18,vit_tiny_patch16_224] [--folder benchmarks/out/timm]

timm and torchvision belong in their own environment, together with zskd-onnx. With a CPU build of
torch: ``pip install --no-deps timm torchvision==0.28.0 huggingface_hub safetensors``. Weights and
batch-normalisation statistics are random, so nothing is downloaded.

For each architecture the folder then contains ``NAME.default.onnx``, ``NAME.legacy.onnx`` and
``NAME.npz`` with a ``Reference``. Three architectures are also exported with a fixed batch size, to
``NAME.default-fixed.onnx`` and ``NAME.legacy-fixed.onnx``. Existing files are not made again.
Reading the files does not need timm.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision_operators
from torch import nn

FOLDER = Path(__file__).parent / "out" / "timm"
"""Default folder of the files."""

CLASSES = 10
EXPORTERS = ("default", "legacy")
FIXED = ("default-fixed", "legacy-fixed")
"""The same exporters with the batch size fixed at 1, which is their default."""

FIXED_TOO = ("resnet18", "densenet121", "vit_tiny_patch16_224")
"""Architectures that are also exported with a fixed batch size."""

ARCHITECTURES = [
    "resnet18",
    "resnet50d",
    "resnext50_32x4d",
    "seresnet50",
    "wide_resnet50_2",
    "densenet121",
    "vgg11_bn",
    "dla34",
    "dpn68",
    "hrnet_w18_small",
    "inception_v3",
    "xception41",
    "repvgg_a0",
    "regnetx_002",
    "regnety_002",
    "rexnet_100",
    "ghostnet_100",
    "mnasnet_100",
    "tinynet_e",
    "lcnet_050",
    "mobilenetv2_100",
    "mobilenetv3_large_100",
    "mobilenetv3_small_100",
    "fbnetc_100",
    "efficientnet_b0",
    "efficientnet_lite0",
    "convnext_atto",
    "convnextv2_atto",
    "edgenext_xx_small",
    "poolformer_s12",
    "mobilevit_xxs",
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "swin_tiny_patch4_window7_224",
    "pvt_v2_b0",
    "resmlp_12_224",
    "gmlp_s16_224",
    "cait_xxs24_224",
    "levit_128s",
]


@dataclass(frozen=True)
class Reference:
    """Values of the original module, for a comparison with imports.

    Attributes:
        x: inputs, (2, C, H, W).
        direction: a random direction of the logits for each input, (2, K).
        gradient: gradient of the logits along ``direction`` with respect to ``x``, computed in float64.
        weight: weight of the classifier, (K, F); the mean of two if there are two heads.
    """

    x: np.ndarray
    direction: np.ndarray
    gradient: np.ndarray
    weight: np.ndarray

    def gradient_gap(self, gradient: torch.Tensor) -> float:
        """The norm of a gradient's error, divided by the norm of the original's gradient."""
        reference = torch.from_numpy(self.gradient)
        return float((gradient - reference).norm() / reference.norm())


def file_of(name: str, exporter: str, folder: Path) -> Path:
    """The path of an exported file."""
    return folder / f"{name}.{exporter}.onnx"


def reference_of(name: str, folder: Path) -> Reference:
    """The stored reference of an architecture."""
    with np.load(folder / f"{name}.npz") as arrays:
        return Reference(**arrays)


def prepare(name: str, exporter: str, folder: Path) -> None:
    """Write the file of an architecture and exporter, and its reference, unless they exist."""
    path, arrays = file_of(name, exporter, folder), folder / f"{name}.npz"
    if path.exists() and arrays.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    model, x = build(name)
    if not arrays.exists():
        np.savez(arrays, **asdict(reference(model, x)))
    if not path.exists():
        export(model, x, path, exporter)


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    """The architecture with random weights, and two inputs (2, C, H, W); the same at every call."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    torchvision_operators.declare()
    import timm

    model = timm.create_model(name, pretrained=False, num_classes=CLASSES).eval()
    randomise(model, rng)
    size = model.default_cfg["input_size"]
    return model, torch.rand((2, *size), generator=rng) * 2 - 1


def randomise(model: nn.Module, rng: torch.Generator) -> None:
    """Set batch-normalisation statistics and small weights to random values, in place.

    Their initial values of 0, 1 or almost 0 would hide errors of an import.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
                (module.weight.data, 0.7, 1.3),
                (module.bias.data, -0.2, 0.2),
            ):
                assert tensor is not None
                tensor.uniform_(low, high, generator=rng)
    for name, parameter in model.named_parameters():
        if name.endswith("gamma") or "layer_scale" in name or name.endswith(".ls1") or name.endswith(".ls2"):
            parameter.data.uniform_(0.5, 1.0, generator=rng)  # the initial value near 0 would hide the branch
        elif parameter.ndim > 1 and parameter.detach().abs().max() < 1e-5:
            parameter.data.normal_(0, parameter[0].numel() ** -0.5, generator=rng)  # weights of 0 would hide it too


def reference(model: nn.Module, x: torch.Tensor) -> Reference:
    """Compute the reference of a model in float64.

    In float32, a ReLU input close to 0 may have either sign, in the original module too.
    """
    exact, inputs = copy.deepcopy(model).double(), x.double().requires_grad_()
    direction = torch.randn((len(x), CLASSES), generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((exact(inputs) * direction).sum(), inputs)
    return Reference(x.numpy(), direction.numpy(), gradient.float().numpy(), classifier_weight(model).numpy())


def classifier_weight(model: nn.Module) -> torch.Tensor:
    """The weight of the classifier, (K, F); the mean of two if there are two heads."""
    heads = model.get_classifier()
    heads = heads if isinstance(heads, (tuple, list)) else [heads]
    weights = []
    for head in heads:
        linear = head if hasattr(head, "weight") else getattr(head, "linear", getattr(head, "l", None))
        if linear is None:
            linear = next(m for m in head.modules() if isinstance(m, (nn.Linear, nn.Conv2d)))
        weights.append(linear.weight.detach().flatten(1))
    return torch.stack(weights).mean(0)


def export(model: nn.Module, x: torch.Tensor, path: Path, exporter: str) -> None:
    """Export a model; the file appears only when it is complete."""
    partial = path.with_suffix(".part")
    kind, _, fixed = exporter.partition("-")
    x = x[:1] if fixed else x
    settings: dict[str, Any]
    if kind == "default":
        free = {0: torch.export.Dim("batch")}
        settings = {"dynamo": True, "opset_version": 20, "dynamic_shapes": (free,), "external_data": False}
    else:
        settings = {"dynamo": False, "opset_version": 17, "input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
    if fixed:
        settings = {k: v for k, v in settings.items() if not k.startswith("dynamic")}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (x,), partial, **settings)
    partial.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(ARCHITECTURES), help="names, separated by commas")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the files are written")
    options = parser.parse_args()
    for name in options.only.split(","):
        for exporter in (*EXPORTERS, *FIXED) if name in FIXED_TOO else EXPORTERS:
            try:
                prepare(name, exporter, options.folder)
                print(
                    f"{name} {exporter}: {file_of(name, exporter, options.folder).stat().st_size >> 20} MiB", flush=True
                )
            except Exception as error:
                print(f"{name} {exporter}: not exported: {' '.join(str(error).split())[:200]}", flush=True)


if __name__ == "__main__":
    main()
