"""Samples as a teacher's file takes them, for onnxruntime."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from zskd_onnx.importer.file.fixed_inputs import fixed_values, is_per_sample
from zskd_onnx.students.thinning.observed_graph import Feeds
from zskd_onnx.teacher.teacher import Teacher


def file_batch(teacher: Teacher) -> int | None:
    """The batch size that a teacher's file fixes, which its import may have freed; None where it is free."""
    value = next(value for value in teacher.source.proto.graph.input if value.name == teacher.domain.name)
    sizes = value.type.tensor_type.shape.dim
    return (sizes[0].dim_value or None) if sizes else None


def feeds_of(teacher: Teacher, x: Tensor) -> Feeds:
    """Input -> value, for samples (N, *shape) of the unit space; inputs that ``--fix`` fixed have their constants."""
    source = teacher.source
    feeds = fixed_values(source.proto, source.fixed)
    for name, value in feeds.items():
        if is_per_sample(source.proto, name):
            feeds[name] = np.repeat(value, len(x), axis=0)
    return {**feeds, teacher.domain.name: teacher.domain.to_array(teacher.domain.to_file(x.cpu().float()))}
