"""``quantize``: a file with smaller numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zskd_onnx.cli.choices import Device, Form, choice
from zskd_onnx.cli.help_page import OUTPUT, REAL_DATA, RUN
from zskd_onnx.cli.options import DeviceOption, EvalDataOption, number, whole_number
from zskd_onnx.cli.progress import progress
from zskd_onnx.cli.results import note_rows, percent, print_result
from zskd_onnx.cli.shared import Output, TeacherInput, with_shared_options
from zskd_onnx.data.remote_folder import absolute_location, is_url
from zskd_onnx.errors import UsageError
from zskd_onnx.system.files import expect_file, expect_folder, expect_parent

if TYPE_CHECKING:
    from zskd_onnx.pipeline.quantization_result import Quantization


@with_shared_options
def quantize(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The classifier, in single precision.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.onnx",
            help="The new file (default: beside MODEL.onnx, with -int8 or -fp16 in its name).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    to: Annotated[
        Form, choice(Form, "int8: weights and activations of 8 bits; fp16: half precision.", OUTPUT)
    ] = Form.INT8,
    transfer_set: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|URL",
            help="Calibrate and judge on the transfer set of an earlier run, such as zskd-out/transfer-set.",
            rich_help_panel=RUN,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz", help="Calibrate and judge on these real samples x.", rich_help_panel=REAL_DATA
        ),
    ] = None,
    eval_data: EvalDataOption = None,
    min_agreement: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            parser=number(0, 1),
            help="Quality gate: smallest agreement with the float file, from 0 to 1.",
            rich_help_panel=OUTPUT,
        ),
    ] = 0.0,
    seed: Annotated[
        int, typer.Option(metavar="N", parser=whole_number(0), help="Random seed.", rich_help_panel=RUN)
    ] = 0,
    device: DeviceOption = Device.AUTO,
    *,
    teacher_input: TeacherInput,
    printed: Output,
) -> None:
    """Write MODEL.onnx with 8-bit integers, or in half precision, without its training data.

    Samples that the program makes calibrate the ranges of activations. Others judge the file: its agreement
    with MODEL.onnx, where that is confident. Inputs and outputs keep their names, types and shapes. An int8 file below
    the gate, or below 0.95 without one, is made again from equalised and fine-tuned weights.

    Examples:
      zskd-onnx quantize model.onnx -o model-int8.onnx
      zskd-onnx quantize model.onnx --to fp16
      zskd-onnx quantize model.onnx --min-agreement 0.99

    Exit codes:
      0    success
      2    usage error
      3    unsupported file, or nothing to quantise
      4    the import differs from onnxruntime
      5    the quality gate was missed; the new file is there
      130  interrupted
      143  terminated
    """
    expect_file(model, "an ONNX model")
    target = model.with_name(f"{model.stem}-{to.value}.onnx") if output is None else output
    expect_parent(target, "--output")
    if transfer_set is not None and data is not None:
        raise UsageError("--transfer-set and --data exclude each other; give one of them")
    if transfer_set is not None and not is_url(location := absolute_location(transfer_set)):
        expect_folder(Path(location), "a transfer set")
    described = teacher_input.options()

    from zskd_onnx.data.arrays import find_arrays

    for path in (data, eval_data):
        if path is not None:
            find_arrays(path, labels=path == eval_data)

    from zskd_onnx.pipeline.quantize import quantize as run

    with progress(printed) as listener:
        result = run(
            model,
            target,
            to=to.value,
            transfer_set=transfer_set,
            data=data,
            eval_data=eval_data,
            min_agreement=min_agreement,
            seed=seed,
            device=device.value,
            listener=listener,
            **described,
        )
    print_result(result.to_dict(), {"model": result.quantized_file.path, **quantization_rows(result)}, printed.format)
    result.check()


def quantization_rows(result: Quantization) -> dict[str, str]:
    """The table of a quantised file."""
    before, after, latency = result.float_file, result.quantized_file, result.latency
    agreement = "unknown" if result.agreement is None else percent(result.agreement)
    rows = {
        "file size": f"{before.bytes:,} -> {after.bytes:,} bytes ({percent(after.bytes / before.bytes)})",
        "weights": after.weights_in_words,
        "agreement": (
            f"{agreement} with the float file, on the {result.confident:,} of {result.judged:,} held-out samples of which it "
            "is confident (at least 90 %)"
        ),
        "samples": result.samples,
    }
    if (changed := result.changed_weights) is not None:
        rows["changed weights"] = f"{changed}; agreement before {percent(changed.agreement_before)}"
    if result.accuracy is not None:
        rows["accuracy"] = f"float {percent(result.accuracy.teacher)}, {result.form} {percent(result.accuracy.student)}"
    rows["latency"] = (
        f"{latency.ratio:.2f} times that of the float file ({1000 * latency.student.median:.3g} and "
        f"{1000 * latency.teacher.median:.3g} ms; {latency.conditions})"
    )
    return rows | note_rows(result.notes)
