"""Pages from the templates of this folder. Every value is escaped, because names of files and classes need not be trusted."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

UNBROKEN = "\N{NO-BREAK SPACE}"
"""Between a number and its unit."""

LOSSLESS = 32 * 32
"""Largest number of pixels of a picture that is embedded as PNG; larger ones are JPEG."""


def render(template: str, **values: Any) -> str:
    """A page: the template of this name in ``templates/``, filled in.

    Bytes in names of files that are no UTF-8, which Python has as surrogates, become question marks.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined  # here, because --help needs no template

    environment = Environment(
        loader=PackageLoader("zskd_onnx.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "count": count, "duration": duration}
    return environment.get_template(template).render(values).encode("utf-8", "replace").decode("utf-8")


def percent(share: float | None) -> str:
    """A fraction in [0, 1] as a percentage; a dash for None."""
    return "-" if share is None else f"{100 * share:.2f}{UNBROKEN}%"


def count(number: int) -> str:
    """A whole number with thousands separated."""
    return f"{number:,}"


def size(number: int) -> str:
    """A number of bytes in a unit that fits, such as "33.1 kB"."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number} bytes"


def duration(seconds: float) -> str:
    """A duration, such as "4.2 s", "12 min" or "3.5 h"."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def times(teacher: float, student: float) -> str:
    """How much smaller a figure of the student is than the teacher's, such as "4.2 times less"."""
    if not teacher or not student or round(teacher / student, 1) == 1:
        return "about the same" if teacher and student else "-"
    return f"{teacher / student:.1f} times less" if teacher > student else f"{student / teacher:.1f} times more"


def picture_uri(pixels: np.ndarray) -> str:
    """An image (H, W, 3), uint8, as a data URI."""
    from PIL import Image

    content = io.BytesIO()
    lossless = pixels.shape[0] * pixels.shape[1] <= LOSSLESS
    picture = Image.fromarray(pixels)
    if lossless:
        picture.save(content, format="PNG", optimize=True)
    else:
        picture.save(content, format="JPEG", quality=85)
    kind = "png" if lossless else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
