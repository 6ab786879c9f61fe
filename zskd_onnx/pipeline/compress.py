"""The whole run: a teacher's file in, a verified student's file out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

import onnx
from torch import nn

from zskd_onnx.config.override_texts import Overrides, override_texts
from zskd_onnx.config.recipe import Recipe
from zskd_onnx.data.remote_folder import absolute_location, is_url
from zskd_onnx.errors import UsageError
from zskd_onnx.events import Listener, silent
from zskd_onnx.pipeline import run_folder
from zskd_onnx.pipeline.check_output import check_output
from zskd_onnx.pipeline.follow_run import follow_run
from zskd_onnx.pipeline.lead_run import lead_run
from zskd_onnx.pipeline.python_inputs import RealArrays, samples_file, teacher_file
from zskd_onnx.pipeline.result import CompressionResult
from zskd_onnx.pipeline.smoke import in_scratch_folder
from zskd_onnx.pipeline.time_budget import parse_budget
from zskd_onnx.students.own_files import own_file
from zskd_onnx.students.own_objects import name_of
from zskd_onnx.students.thinning.target import requested_target
from zskd_onnx.system.devices import choose_device
from zskd_onnx.system.process_group import process_group
from zskd_onnx.system.ranks import ranks
from zskd_onnx.teacher.load import TeacherOptions


@in_scratch_folder
def compress(
    teacher: str | Path | onnx.ModelProto | None,
    output: str | Path,
    *,
    recipe: str | Path | Recipe | None = None,
    overrides: Overrides = (),
    student: str | nn.Module | Callable[..., Any] | None = None,
    seed: int | None = None,
    device: str = "auto",
    eval_data: RealArrays | None = None,
    data: RealArrays | None = None,
    pictures: str | Path | None = None,
    init: str | None = None,
    transfer_set: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    allow_degenerate: bool = False,
    target_params: str | float | None = None,
    target_macs: str | float | None = None,
    target_size: str | float | None = None,
    target_latency: str | None = None,
    time_budget: str | float | None = None,
    smoke: bool = False,
    listener: Listener = silent,
    **teacher_options: Unpack[TeacherOptions],
) -> CompressionResult:
    """Compress a classifier without its training data.

    Args:
        teacher: the ONNX file, or a model in memory. With ``resume`` it may be None, which takes the file of the run.
        output: folder for the student and everything that belongs to it.
        recipe: a built-in name, a YAML file, or a ``Recipe``. None takes "best", or "zskd-uniform" where the teacher
            has no final fully connected layer.
        overrides: "distillation.epochs=50" and the like, or {"distillation": {"epochs": 50}}, for a recipe given by name
            or file.
        student: an architecture, "half", "auto", "file.py:factory", or the path of an ONNX file; default: the recipe's.
            A module, whose weights are the initial ones, or a factory or class, which is called with the shape of one
            sample and the number of classes, is accepted too.
        seed: of every random draw; default: the recipe's. On one machine the same seed gives the same student.
        device: "auto", "cpu" or "cuda".
        eval_data: an .npz with real samples ``x`` and class numbers ``y`` to score on, or the arrays (x, y). They are
            not trained on, and select nothing.
        data: an .npz with real samples ``x``, and class numbers ``y`` if known, to train on beside synthesised
            samples; or an array x, or the arrays (x, y). Some recipes need it.
        pictures: a folder of pictures (JPEG, PNG) of anything. Random crops of them join the images that the recipe
            draws. They are no training data: the teacher labels them.
        init: "random", "inherit", "auto" or "file", see ``Recipe``; default: the recipe's.
        transfer_set: folder of a transfer set that an earlier run made from the same teacher, or its URL, such as
            "s3://bucket/run/transfer-set", which is copied to ``output`` first; nothing is synthesised then.
        overwrite: replace what an earlier run wrote to ``output``. Its student stays until the new one is complete.
        resume: continue the run there with its own settings; a finished run gives its result again and writes
            nothing. Other arguments may be left out, and may not conflict with the settings.
        allow_degenerate: train even where the teacher's predictions on the samples have collapsed, see
            ``pipeline.judge_samples``.
        target_params: in place of ``student``, the largest thinned version of the teacher with at most this number of
            parameters, such as "60k", or this share of the teacher's, such as "25%".
        target_macs: the same with a limit of the multiply-adds of one sample, such as "10M".
        target_size: the same with a limit of the student's file, such as "200kB".
        target_latency: the same with a limit of the median time of one batch in onnxruntime on the CPU of this
            machine, such as "2ms"; it uses as many threads as torch has.
        time_budget: the time that the run may take, such as "10m", or seconds. Fewer samples are made, and training ends
            when the time is up, with its learning rate at the end of its schedule. A resumed run has the whole time again.
            Such a run cannot be repeated to the byte.
        smoke: run every stage at toy size in under a minute, to see whether the run will end well. Nothing is written to
            ``output``, and no quality gate is judged. ``time_budget`` and ``overwrite`` have no effect.
        listener: is called with every progress ``Event``. If it raises an exception, such as ``Cancelled``, the run
            ends and what it made is kept for ``resume``.
        teacher_options: ``input_range``, ``mean``, ``std``, ``layout``, ``input_shape``, ``output_name``, ``fix``
            and ``importer``, as ``load_teacher`` takes them.

    Returns:
        The student's path and the figures of the run. Its ``check()`` raises QualityError where the student
        missed a quality gate of the recipe.

    Raises:
        UsageError: a file, folder, option or recipe does not fit.
        UnsupportedTeacherError: the file cannot serve as a teacher.
        ParityError: the import or the exported student disagrees with onnxruntime.
        QualityError: the teacher's predictions on the samples have collapsed, so nothing was trained.
    """
    begin, folder = time.monotonic(), Path(output)
    if smoke and ranks().count > 1:
        raise UsageError("--smoke runs in one process; start it without torchrun")
    if ranks().restarts and (folder / run_folder.SETTINGS).is_file():
        resume, overwrite = True, False
    if not ranks().leads:
        return follow_run(folder, choose_device(device))
    targets = {
        "target_params": target_params,
        "target_macs": target_macs,
        "target_size": target_size,
        "target_latency": target_latency,
    }
    student_name = None if student is None else name_of(student)
    requested_target(student_name, **targets)  # reports a fault before anything is read
    if overwrite and resume:
        raise UsageError("overwrite and resume exclude each other; give one of --overwrite and --resume")
    if not resume:
        check_output(folder, overwrite=overwrite)
    files = {
        "teacher": teacher_file(teacher, folder),
        "data": samples_file(data, "data", folder),
        "eval_data": samples_file(eval_data, "eval_data", folder),
    }
    own_student = None if student_name is None else own_file(student_name)
    inputs = [path for path in (*files.values(), own_student) if path is not None]
    if overwrite and transfer_set is not None and not is_url(location := absolute_location(transfer_set)):
        inputs.append(Path(location))
    run_folder.check_inputs(folder, inputs)
    options: dict[str, Any] = {
        "recipe": recipe,
        "overrides": override_texts(overrides),
        "seed": seed,
        "init": init,
        **files,
        "student": student_name,
        "device": device,
        "pictures": pictures,
        "transfer_set": transfer_set,
        "time_budget": None if time_budget is None else parse_budget(time_budget),
        **targets,
        **teacher_options,
    }
    with process_group(choose_device(device)):
        return lead_run(
            folder,
            options,
            begin,
            listener,
            overwrite=overwrite,
            resume=resume,
            smoke=smoke,
            degenerate=allow_degenerate,
        )
