"""Operators of ai.onnx.ml that belong to scikit-learn's linear classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zskd_onnx.importer.operators.indexing import non_negative
from zskd_onnx.importer.operators.registry import operator

ML = "ai.onnx.ml"
Floats = Sequence[float]


def _values(numbers: Sequence[float], x: Tensor) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32, device=x.device)


@operator("LinearClassifier", (1,), domain=ML)
def linear_classifier(
    x: Tensor,
    *,
    coefficients: Floats,
    intercepts: Floats = (),
    classlabels_ints: Sequence[int] = (),
    classlabels_strings: Sequence[str] = (),
    multi_class: int = 0,
    post_transform: str = "NONE",
) -> tuple[Tensor | None, Tensor]:
    """Label (N,) and scores (N, K) of x (N, F). Labels that are strings cannot be a tensor: None."""
    classes = len(classlabels_ints) or len(classlabels_strings)
    weight = _values(coefficients, x).reshape(-1, x.shape[-1])
    if weight.shape[0] != classes:
        raise NotImplementedError(
            f"{weight.shape[0]} rows of coefficients for {classes} classes; expected one for each class"
        )
    scores = F.linear(x.float(), weight, _values(intercepts, x) if intercepts else None)
    best = scores.argmax(1)
    label = torch.tensor(classlabels_ints, device=x.device)[best] if classlabels_ints else None
    match post_transform:
        case "NONE":
            return label, scores
        case "SOFTMAX":
            return label, scores.softmax(1)
        case "LOGISTIC":
            return label, scores.sigmoid()
    raise NotImplementedError(f"post_transform '{post_transform}'; expected NONE, SOFTMAX or LOGISTIC")


@operator("Scaler", (1,), domain=ML)
def scaler(x: Tensor, *, offset: Floats, scale: Floats) -> Tensor:
    """(x - offset) * scale; both are one number, or one for each feature."""
    return (x.float() - _values(offset, x)) * _values(scale, x)


@operator("Normalizer", (1,), domain=ML)
def normalizer(x: Tensor, *, norm: str = "MAX") -> Tensor:
    """Each sample divided by its maximum, L1 norm or L2 norm; a norm of zero counts as one."""
    x = x.float()
    match norm:
        case "MAX":
            size = x.amax(-1, keepdim=True)
        case "L1" | "L2":
            size = torch.linalg.vector_norm(x, int(norm[1]), -1, keepdim=True)
        case _:
            raise NotImplementedError(f"norm '{norm}'; expected MAX, L1 or L2")
    return x / torch.where(size == 0, torch.ones_like(size), size)


@operator("Imputer", (1,), domain=ML)
def imputer(
    x: Tensor,
    *,
    imputed_value_floats: Floats = (),
    imputed_value_int64s: Sequence[int] = (),
    replaced_value_float: float = 0.0,
    replaced_value_int64: int = 0,
) -> Tensor:
    """Replace one value, possibly NaN, by the number for its feature."""
    if x.is_floating_point():
        missing = torch.isnan(x) if replaced_value_float != replaced_value_float else x == replaced_value_float
        return torch.where(missing, _values(imputed_value_floats, x).to(x.dtype), x)
    return torch.where(x == replaced_value_int64, torch.tensor(imputed_value_int64s, device=x.device), x)


@operator("LabelEncoder", (2, 4), domain=ML)
def label_encoder(x: Tensor, **attributes: Any) -> Tensor:
    """Map numbers to numbers; those that are not listed become the default."""
    string_attributes = sorted(name for name in attributes if name.endswith(("strings", "_string")))
    if any(name.startswith(("keys", "values")) for name in string_attributes):
        raise NotImplementedError(f"labels that are strings ({', '.join(string_attributes)}); expected numbers")
    keys = _listed("keys", attributes)
    values = _listed("values", attributes)
    default = _default(values, attributes)
    y = torch.full_like(x, default, dtype=values.dtype)
    for key, value in zip(keys.tolist(), values.tolist(), strict=True):
        hit = torch.isnan(x) if key != key else x == key
        y = torch.where(hit, value, y)
    return y.to(values.dtype)


def _listed(kind: str, attributes: dict[str, Any]) -> Tensor:
    """The keys or the values of a LabelEncoder."""
    for suffix, dtype in (("int64s", torch.int64), ("floats", torch.float32)):
        if f"{kind}_{suffix}" in attributes:
            return torch.tensor(attributes[f"{kind}_{suffix}"], dtype=dtype)
    if isinstance(tensor := attributes.get(f"{kind}_tensor"), Tensor):
        return tensor
    raise NotImplementedError(f"no {kind} that are numbers")


def _default(values: Tensor, attributes: dict[str, Any]) -> float:
    """The default of a LabelEncoder."""
    if isinstance(tensor := attributes.get("default_tensor"), Tensor):
        return tensor.item()
    return attributes.get("default_float", -0.0) if values.is_floating_point() else attributes.get("default_int64", -1)


@operator("ArrayFeatureExtractor", (1,), domain=ML)
def array_feature_extractor(x: Tensor, indices: Tensor) -> Tensor:
    """Elements of the last axis by index; a vector becomes one row."""
    picked = x.index_select(-1, non_negative(indices, x.shape[-1]).reshape(-1))
    return picked.unsqueeze(0) if x.ndim == 1 else picked


@operator("ZipMap", (1,), domain=ML)
def zip_map(x: Tensor, **_labels: Any) -> Tensor:
    """The tensor itself; ONNX would attach the class names to it."""
    return x
