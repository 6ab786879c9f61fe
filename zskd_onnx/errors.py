"""Everything that can go wrong, as one tree.

ZskdError                      1
├── UsageError                 2   a missing file, an existing output folder, a bad option
│   ├── RecipeError            2   a recipe or an override that does not validate
│   └── MissingExtraError      2   an optional package that is not installed
├── UnsupportedTeacherError    3   the ONNX file cannot serve as a teacher
├── ParityError                4   two runtimes disagree on the same model
└── QualityError               5   a quality gate was missed

The number is the exit code of the command line. Every message is one line that
names the node, key or file, says what was expected, and what to do next.
"""


class ZskdError(Exception):
    """Base of all errors raised on purpose by this package."""

    exit_code = 1


class UsageError(ZskdError):
    """The request cannot be carried out as it was made."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe or an override does not validate; the message lists every fault."""


class MissingExtraError(UsageError):
    """An optional dependency is needed and not importable."""


class UnsupportedTeacherError(ZskdError):
    """The file is not a classifier that this package can read, or lacks what a recipe needs."""

    exit_code = 3


class ParityError(ZskdError):
    """The same model gives different values in torch and in onnxruntime."""

    exit_code = 4


class QualityError(ZskdError):
    """The student is below a gate that the caller set."""

    exit_code = 5
