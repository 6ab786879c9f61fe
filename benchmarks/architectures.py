# /// script
# dependencies = ["timm>=1.0", "torchvision"]
# ///
"""Can the importer read what people export? timm's architectures, both of torch's exporters.

    python benchmarks/architectures.py [--only resnet18,vit_tiny_patch16_224] [--exporter legacy]

timm and torchvision belong in an environment of their own, beside zskd-onnx: with a CPU build of
torch, ``pip install --no-deps timm torchvision==0.28.0 huggingface_hub safetensors``. Weights are
random and batch-norm statistics are not trivial, so nothing is downloaded.

For each file: the import agrees with onnxruntime at two batch sizes (``load_teacher`` refuses it
otherwise; here the relative gap is reported), the gradient of random directions in the logits
with respect to the input agrees with the original module's, and the head's W is the classifier's.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import re
import tempfile
import time
import warnings
from pathlib import Path

import torch
from torch import nn

from zskd_onnx import ZskdError, load_teacher

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
CLASSES = 10


def import_timm():  # type: ignore[no-untyped-def]
    """timm needs torchvision, whose compiled operators no CPU build of torch can load.

    No classifier uses them; declared without a body they let the import pass.
    """
    files = importlib.metadata.files("torchvision") or []
    source = next(f for f in files if str(f).endswith("torchvision/_meta_registrations.py")).locate()
    library = torch.library.Library("torchvision", "DEF")
    text = Path(str(source)).read_text(encoding="utf-8")
    for name in set(re.findall(r'register_meta\("(\w+)"\)|register_fake\("torchvision::(\w+)"\)', text)):
        library.define(f"{''.join(name)}(...) -> Tensor")
    import timm

    return timm, library


def randomise(model: nn.Module, generator: torch.Generator) -> None:
    """Batch-norm statistics and affine weights that a wrong import would get wrong."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
                (module.weight.data, 0.7, 1.3),
                (module.bias.data, -0.2, 0.2),
            ):
                tensor.uniform_(low, high, generator=generator)
    for name, parameter in model.named_parameters():
        if name.endswith("gamma") or "layer_scale" in name or name.endswith(".ls1") or name.endswith(".ls2"):
            parameter.data.uniform_(0.5, 1.0, generator=generator)  # starts near 0 and would hide its branch


def export(model: nn.Module, x: torch.Tensor, path: Path, exporter: str) -> None:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if exporter == "default":
            batch = torch.export.Dim("batch")
            torch.onnx.export(
                model, (x,), path, dynamo=True, opset_version=20, dynamic_shapes=({0: batch},), external_data=False
            )
        else:
            torch.onnx.export(
                model,
                (x,),
                path,
                dynamo=False,
                opset_version=17,
                input_names=["x"],
                dynamic_axes={"x": {0: "batch"}},
            )


def classifier_weight(model: nn.Module) -> torch.Tensor:
    """W of the original: the mean of two where there are two heads."""
    heads = model.get_classifier()
    heads = heads if isinstance(heads, (tuple, list)) else [heads]
    weights = []
    for head in heads:
        linear = head if hasattr(head, "weight") else getattr(head, "linear", getattr(head, "l", None))
        if linear is None:
            linear = next(m for m in head.modules() if isinstance(m, (nn.Linear, nn.Conv2d)))
        weight = linear.weight.detach().flatten(1)
        weights.append(weight)
    return torch.stack(weights).mean(0)


def check(model: nn.Module, x: torch.Tensor, path: Path) -> dict[str, str]:
    begin = time.perf_counter()
    try:
        teacher = load_teacher(path, input_range=(-1, 1))
    except ZskdError as error:
        return {"verdict": "refused", "reason": str(error)[-200:]}
    seconds = time.perf_counter() - begin
    inputs = x.clone().requires_grad_()
    direction = torch.randn((len(x), CLASSES), generator=torch.Generator().manual_seed(1))
    (ours,) = torch.autograd.grad((teacher.logits(inputs) * direction).sum(), inputs)
    (theirs,) = torch.autograd.grad((model(inputs) * direction).sum(), inputs)
    gradient = float((ours - theirs).norm() / theirs.norm())
    head = "none"
    if teacher.head is not None:
        weight = classifier_weight(model)
        same = teacher.head.weight.shape == weight.shape and torch.allclose(
            teacher.head.weight, weight, rtol=1e-3, atol=1e-5
        )
        head = "found" if same else "differs"
    good = teacher.parity < 1e-3 and gradient < 1e-2 and head == "found"
    return {
        "verdict": "ok" if good else "WRONG",
        "parity": f"{teacher.parity:.1e}",
        "gradient": f"{gradient:.1e}",
        "head": head,
        "import": f"{seconds:.1f} s",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--exporter", choices=["default", "legacy", "both"], default="both")
    given = parser.parse_args()
    timm, _library = import_timm()
    exporters = ["default", "legacy"] if given.exporter == "both" else [given.exporter]
    names = given.only.split(",") if given.only else ARCHITECTURES
    passed = dict.fromkeys(exporters, 0)
    print("| architecture | exporter | verdict | parity | gradient | head | import |\n|---|---|---|---|---|---|---|")
    for name in names:
        generator = torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        model = timm.create_model(name, pretrained=False, num_classes=CLASSES).eval()
        randomise(model, generator)
        size = model.default_cfg["input_size"]
        x = torch.rand((2, *size), generator=generator) * 2 - 1
        for exporter in exporters:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.onnx"
                try:
                    export(model, x, path, exporter)
                    row = check(model, x, path)
                except Exception as error:
                    row = {"verdict": "not exported", "reason": " ".join(str(error).split())[:120]}
            passed[exporter] += row["verdict"] == "ok"
            cells = [row.get(key, "") for key in ("verdict", "parity", "gradient", "head", "import")]
            print(f"| {name} | {exporter} | {' | '.join(cells)} | {row.get('reason', '')}", flush=True)
    for exporter, count in passed.items():
        print(f"{exporter} exporter: {count} of {len(names)}")


if __name__ == "__main__":
    main()
