"""The quantised student of a run, beside the float one."""

from __future__ import annotations

from pathlib import Path

import onnx
from torch import Tensor

from zskd_onnx.data.transfer_set import Samples
from zskd_onnx.events import Listener
from zskd_onnx.importer.file.fixed_inputs import fixed_values
from zskd_onnx.importer.file.source import present_inputs
from zskd_onnx.pipeline.plan import Plan
from zskd_onnx.pipeline.quantization_result import Quantization
from zskd_onnx.pipeline.quantization_samples import CALIBRATION, QuantizationSamples
from zskd_onnx.pipeline.run_folder import QUANTIZED
from zskd_onnx.pipeline.training_samples import shown_samples, split_samples
from zskd_onnx.students.own_files import is_onnx_file
from zskd_onnx.teacher.load import load_teacher


def check_quantisable(plan: Plan) -> None:
    """Raise UnsupportedTeacherError, before anything is trained, if the student will be a file that cannot be quantised.

    A student that is an ONNX graph keeps the numbers of its file, which may be in half precision.
    """
    if plan.recipe.deployment.quantize is None:
        return
    from zskd_onnx.quantization.prepare import expect_float  # here, because onnxscript takes half a second to load

    if is_onnx_file(plan.choice.name):
        path = Path(plan.choice.name)
        expect_float(onnx.load(path, load_external_data=False), path)
    elif plan.choice.thinned is not None:
        expect_float(plan.teacher.source.proto, plan.teacher.source.path)


def quantize_student(
    plan: Plan, samples: Samples | None, held_out: Tensor, student: Path, listener: Listener
) -> Quantization | None:
    """Write the quantised student that the recipe asks for, and remove those of earlier runs in the folder.

    Args:
        samples: the transfer set, or None.
        held_out: held-out samples of the run (N, *shape) in the unit space, which judge.
        student: the float student's file.
    """
    gates = plan.recipe.deployment
    for form, name in QUANTIZED.items():
        if form != gates.quantize:
            (student.parent / name).unlink(missing_ok=True)
    if gates.quantize is None:
        return None
    # here, because onnxruntime's tools are slow to load
    from zskd_onnx.pipeline.quantized_file import quantise_file
    from zskd_onnx.pipeline.recover_agreement import Recovery

    source = plan.teacher.source
    fixed = present_inputs(student, fixed_values(source.proto, source.fixed))
    return quantise_file(
        load_teacher(student, output_name=plan.teacher.output.name, fix=fixed),
        student.parent / QUANTIZED[gates.quantize],
        gates.quantize,
        _samples(plan, samples, held_out),
        evaluation=plan.evaluation,
        min_agreement=gates.min_quantized_agreement,
        recovery=Recovery(gates.min_quantized_agreement, plan.recipe.seed, plan.device, listener),
    )


def _samples(plan: Plan, samples: Samples | None, held_out: Tensor) -> QuantizationSamples:
    """Samples as the student was trained on, and the held-out ones; of a generator there are held-out ones alone."""
    stored, _ = split_samples(plan, samples)
    if stored or plan.images is not None:
        shown = shown_samples(plan, stored, plan.recipe.distillation, "quantisation", plan.at_most(CALIBRATION))
        return QuantizationSamples(shown, held_out, "those of the student's training")
    half = len(held_out) // 2
    return QuantizationSamples(held_out[:half], held_out[half:], "those of the generator")
