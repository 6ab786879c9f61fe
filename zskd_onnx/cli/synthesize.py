"""``synthesize``: samples for a classifier, in the formats of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zskd_onnx.cli.choices import Device, SampleFormat, choice
from zskd_onnx.cli.help_page import OUTPUT, RUN
from zskd_onnx.cli.options import (
    DeviceOption,
    PicturesOption,
    RecipeOption,
    SeedOption,
    SetOption,
    TeacherFile,
    check_run_options,
    whole_number,
)
from zskd_onnx.cli.progress import progress
from zskd_onnx.cli.results import print_result
from zskd_onnx.cli.shared import Output, TeacherInput, with_shared_options
from zskd_onnx.system.files import expect_file, expect_folder
from zskd_onnx.system.ranks import ranks

if TYPE_CHECKING:
    from zskd_onnx.pipeline.synthesize import SampleSet


@with_shared_options
def synthesize(
    teacher: TeacherFile,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    count: Annotated[
        int | None,
        typer.Option(
            metavar="N", parser=whole_number(1), help="Number of samples (default: the recipe's).", rich_help_panel=RUN
        ),
    ] = None,
    pictures: PicturesOption = None,
    seed: SeedOption = None,
    device: DeviceOption = Device.AUTO,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Output folder.", rich_help_panel=OUTPUT)
    ] = Path("zskd-samples"),
    to: Annotated[
        SampleFormat,
        choice(SampleFormat, "Format of the samples: npz, npy, safetensors, or png for images.", OUTPUT),
    ] = SampleFormat.NPZ,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the samples of another run.", rich_help_panel=OUTPUT)
    ] = False,
    *,
    teacher_input: TeacherInput,
    printed: Output,
) -> None:
    """Synthesise samples for TEACHER.onnx and stop: to calibrate a quantiser, or to look at.

    Values, layout and type are those of the teacher's input. The folder is also a transfer set, which
    compress takes with --transfer-set. If interrupted, run the same command again. Several processes
    that run the same command share the work, also on several machines that share the folder.

    Examples:
      zskd-onnx synthesize teacher.onnx -o set
      zskd-onnx synthesize t.onnx --count 500 --to npy
      zskd-onnx compress teacher.onnx --transfer-set set

    Exit codes:
      0    success
      1    unexpected error
      2    usage error, or a faulty recipe
      3    the teacher is unsupported
      4    the import differs from onnxruntime
      130  interrupted
      143  terminated
    """
    expect_file(teacher, "an ONNX model")
    check_run_options(recipe, set_ or [], None, None, None)
    if pictures is not None:
        expect_folder(pictures, "pictures, JPEG or PNG")
    described = teacher_input.options()

    from zskd_onnx.pipeline.synthesize import synthesize as make_samples

    with progress(printed) as listener:
        result = make_samples(
            teacher,
            output,
            to=to.value,
            count=count,
            recipe=recipe,
            overrides=set_ or [],
            pictures=pictures,
            seed=seed,
            device=device.value,
            overwrite=overwrite,
            listener=listener,
            **described,
        )
    if ranks().leads:
        print_result(result.to_dict(), _rows(result), printed.format)


def _rows(result: SampleSet) -> dict[str, str]:
    rows = {
        "samples": str(result.samples),
        "predictions": str(result.predictions),
        "input": f"{result.input_name}: {result.dtype} {result.shape}",
        "answers": str(result.answers),
    }
    for number, warning in enumerate(result.warnings, 1):
        rows[f"warning {number}" if len(result.warnings) > 1 else "warning"] = warning
    return rows
