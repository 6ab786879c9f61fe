"""``demo``: a small run on files that ship with the package."""

from __future__ import annotations

from pathlib import Path

from zskd_onnx.cli.choices import Device
from zskd_onnx.cli.options import DeviceOption, OutputOption, SeedOption
from zskd_onnx.cli.print_compression import print_compression
from zskd_onnx.cli.progress import progress
from zskd_onnx.cli.shared import Output, with_shared_options


@with_shared_options
def demo(
    output: OutputOption = Path("zskd-demo"),
    seed: SeedOption = None,
    device: DeviceOption = Device.AUTO,
    *,
    printed: Output,
) -> None:
    """Compress a small classifier of handwritten digits that ships with the package.

    The student is scored on 450 real digits that neither model was trained on. An earlier demo in
    the same folder is replaced.

    Examples:
      zskd-onnx demo
      zskd-onnx demo --output my-demo --seed 1

    Exit codes:
      0    success
      1    unexpected error
      2    usage error
      4    the student differs from onnxruntime
      130  interrupted
      143  terminated
    """
    from zskd_onnx.pipeline.demo import demo as run_demo

    with progress(printed) as listener:
        result = run_demo(output, seed=seed, device=device.value, listener=listener)
    print_compression(result, printed.format)
