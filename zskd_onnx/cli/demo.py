"""``demo``: the main job on something small."""

from __future__ import annotations

from pathlib import Path

from zskd_onnx.cli.compress import print_result
from zskd_onnx.cli.options import DeviceOption, FormatOption, OutputOption, SeedOption
from zskd_onnx.cli.printing import Format, progress, reports_errors


@reports_errors
def demo(
    output: OutputOption = Path("zskd-demo"),
    seed: SeedOption = None,
    device: DeviceOption = "auto",
    format: FormatOption = Format.TEXT,
) -> None:
    """Compress a small teacher of handwritten digits that ships with the package.

    The student is scored on real digits that neither side was trained on. An earlier demo in the
    same folder is replaced.
    """
    from zskd_onnx.pipeline.demo import demo as run_demo

    with progress() as listener:
        result = run_demo(output, seed=seed, device=device, listener=listener)
    print_result(result, format)
