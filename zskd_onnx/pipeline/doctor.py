"""The installation: versions, devices and optional packages."""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib import metadata
from typing import Any

import torch

from zskd_onnx.system.onnx_runtime import providers
from zskd_onnx.version import __version__


def examine() -> dict[str, Any]:
    """Versions, devices and optional packages, by name."""
    facts: dict[str, Any] = {
        "zskd-onnx": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
    }
    for package in ("onnx", "onnx-ir", "onnxscript", "onnxruntime-gpu", "onnxruntime"):
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    if "onnxruntime" in facts and "onnxruntime-gpu" in facts:
        facts["warning"] = "onnxruntime and onnxruntime-gpu overwrite each other: uninstall both, then install one"
    facts["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    facts["threads"] = torch.get_num_threads()
    facts["onnxruntime providers"] = ", ".join(providers())
    for extra in ("mlflow", "onnx2torch", "tensorboard", "timm"):
        installed = importlib.util.find_spec(extra) is not None
        facts[f"extra {extra}"] = "installed" if installed else f"not installed: pip install 'zskd-onnx[{extra}]'"
    facts["ZSKD_DATA"] = os.environ.get("ZSKD_DATA", "not set; only benchmarks need it")
    return facts
