"""The output of a classifier's file."""

from __future__ import annotations

import pytest
import torch

from zskd_onnx.teacher.signature.output import Output

KINDS = ("logits", "softmax", "log_softmax", "probabilities", "sigmoid", "normalized_sigmoid")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_log_probabilities_of_the_files_values(kind: str, dtype: torch.dtype) -> None:
    classes = 2 if kind == "sigmoid" else 5
    logits = torch.randn(7, classes, generator=torch.Generator().manual_seed(0))
    shape = (1,) if kind == "sigmoid" else (classes, 1)
    output = Output("y", kind, shape, classes, dtype)
    values = output.from_logits(logits).numpy()
    expected = logits.softmax(1)
    if kind == "normalized_sigmoid":
        expected = logits.sigmoid() / logits.sigmoid().sum(1, keepdim=True)
    measured = output.log_probabilities(values).exp()
    torch.testing.assert_close(measured, expected, atol=1e-5 if dtype == torch.float32 else 2e-3, rtol=0)
