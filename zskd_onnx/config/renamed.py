"""Old names of recipe keys, accepted for one release with a warning."""

from __future__ import annotations

import json
import warnings
from typing import Any

from zskd_onnx.errors import RecipeError

Path = tuple[str, ...]

KEYS: dict[Path, Path] = {
    ("distillation", "clip"): ("distillation", "grad_clip"),
    ("distillation", "labels"): ("distillation", "loss_weights", "labels"),
    ("distillation", "attention"): ("distillation", "loss_weights", "attention"),
    ("distillation", "hints"): ("distillation", "loss_weights", "features"),
    ("distillation", "checks"): ("distillation", "validations"),
    ("distillation", "augmentation", "window"): ("distillation", "augmentation", "crop"),
    ("distillation", "augmentation", "outside"): ("distillation", "augmentation", "padding_mode"),
    ("generator", "noise"): ("generator", "latent_dim"),
    ("generator", "memory"): ("generator", "replay"),
    ("generator", "clip"): ("generator", "grad_clip"),
    ("generator", "fresh"): ("generator", "fresh_batches"),
    ("synthesis", "clip"): ("synthesis", "clamp"),
}
"""Old path of a key -> new path; those of ``fine_tuning`` follow ``distillation``."""

REPLACED = ("contours", "strokes", "leaves", "photographs")
"""Old fields of ``augmentation`` whose section ``procedural`` has other units: shares of a batch."""

VALUES: dict[Path, dict[str, str]] = {
    ("init",): {"fresh": "random"},
    ("prior", "layer"): {"second_last": "penultimate"},
    ("distillation", "augmentation", "padding_mode"): {"zero": "zeros", "edge": "border"},
}
"""Key -> old value -> new value."""


def rename_keys(content: dict[str, Any], where: str) -> None:
    """Give the keys and values of a recipe's content their present names, in place; see ``rename``.

    Only known keys are visited, because YAML aliases may make a content endless.
    """
    _separate_procedural(content, where)
    of_fine_tuning = [("fine_tuning", *path[1:]) for path in (*KEYS, *VALUES) if path[0] == "distillation"]
    for path in (*KEYS, *VALUES, *of_fine_tuning, ("requires",)):
        section: Any = content
        for name in path[:-1]:
            section = section.get(name) if isinstance(section, dict) else None
        if isinstance(section, dict) and path[-1] in section:
            set_key(content, *rename(path, section.pop(path[-1]), where))


def set_key(content: dict[str, Any], path: Path, value: Any) -> None:
    """Set a value of nested mappings; missing ones are made.

    Raises:
        TypeError: a part of the path is a value; the message is its name.
    """
    *names, key = path
    section = content
    for name in names:
        if section.get(name) is None:
            section[name] = {}
        if not isinstance(section[name], dict):
            raise TypeError(name)
        section = section[name]
    section[key] = value


def rename(path: Path, value: Any, where: str) -> tuple[Path, Any]:
    """The present name and value of a key.

    Args:
        where: the recipe or option that holds the key, for the warning.

    Warns:
        FutureWarning: an old name; the message gives the new line.

    Raises:
        RecipeError: an old field that a new one replaces with another meaning.
    """
    if _in_distillation(path)[:2] == ("distillation", "augmentation") and path[-1] in REPLACED:
        raise RecipeError(
            f"{where}: {'.'.join(path)} is replaced by section procedural, whose level_lines, pen_strokes and dead_leaves "
            "are shares of each batch; for example procedural.pen_strokes: 0.4"
        )
    stage = path[0] if path[0] == "fine_tuning" else "distillation"
    new = KEYS.get(_in_distillation(path), path)
    names = VALUES.get(_in_distillation(new), {})
    new = (stage, *new[1:]) if new[0] == "distillation" else new
    renamed = names.get(value, value) if isinstance(value, str) else value
    if path == ("requires",) and isinstance(value, list):
        renamed = ["penultimate" if item == "second_last" else item for item in value]
    if (new, renamed) != (path, value):
        lines = [f"{'.'.join(p)}: {json.dumps(v, default=str)}" for p, v in ((path, value), (new, renamed))]
        message = f"{where}: write {lines[1]} in place of {lines[0]}, which the next release does not read"
        warnings.warn(message, FutureWarning, stacklevel=3)
    return new, renamed


def _separate_procedural(content: dict[str, Any], where: str) -> None:
    """Turn the old fields of augmentation that replaced samples by drawings into section ``procedural``.

    The old fields were applied one after another to the augmented share of a batch. The section serves both
    stages of training, so those of ``fine_tuning`` are dropped.
    """
    stages = [content.get(stage) for stage in ("distillation", "fine_tuning")]
    sections = [stage.get("augmentation") for stage in stages if isinstance(stage, dict)]
    augmentations = [section for section in sections if isinstance(section, dict) and set(section) & set(REPLACED)]
    old = [{key: augmentation.pop(key, None) for key in REPLACED} for augmentation in augmentations]
    if not old or not all(value is None or isinstance(value, (int, float)) for value in old[0].values()):
        return
    lines, strokes, leaves = (float(old[0][key] or 0) for key in ("contours", "strokes", "leaves"))
    fraction = augmentations[0].get("fraction", 0.5)
    fraction = float(fraction) if isinstance(fraction, (int, float)) else 0.0
    procedural = {
        "level_lines": round(fraction * (1 - strokes) * lines, 4),
        "pen_strokes": round(fraction * strokes, 4),
        "dead_leaves": round(fraction * leaves, 4),
        "natural_images": old[0]["photographs"],
    }
    if any(procedural.values()):
        content["procedural"] = procedural
    message = f"{where}: write section procedural: {json.dumps(content.get('procedural'))}"
    warnings.warn(f"{message} in place of augmentation's {', '.join(REPLACED)}", FutureWarning, stacklevel=3)


def _in_distillation(path: Path) -> Path:
    return ("distillation", *path[1:]) if path[0] == "fine_tuning" else path
