"""The errors that this package raises on purpose.

ZskdError                      1
├── UsageError                 2   a missing file, an existing output folder, a bad option
│   ├── RecipeError            2   a recipe or an override that does not validate
│   └── MissingExtraError      2   an optional package that is not installed
├── UnsupportedTeacherError    3   the ONNX file cannot serve as a teacher
├── ParityError                4   two runtimes disagree on the same model
├── QualityError               5   a quality gate was missed
├── PeerLostError              1   another process of the run has ended
└── Cancelled                130   a listener stopped the run

The number is the exit code of the command line. Each message is one line: it names the node, key or file, what was
expected, and what to do next.
"""


class ZskdError(Exception):
    """Base class of all errors of this package.

        try:
            compress("teacher.onnx", "out")
        except ZskdError as error:
            sys.exit(error.exit_code)

    Attributes:
        exit_code: of the command line.
    """

    exit_code = 1


class UsageError(ZskdError):
    """A file, folder or option does not fit.

    try:
        compress("teacher.onnx", "out")
    except UsageError:  # such as: the folder is not empty
        compress("teacher.onnx", "out", overwrite=True)
    """

    exit_code = 2


class RecipeError(UsageError):
    """A recipe or an override does not validate; the message lists every fault.

    try:
        recipe = load_recipe("mine.yaml")
    except RecipeError as error:
        print(error)  # mine.yaml: distillation.epochz: unknown key
    """


class MissingExtraError(UsageError):
    """An optional package is needed and not installed.

    try:
        teacher = load_teacher("teacher.onnx", importer="onnx2torch")
    except MissingExtraError:
        teacher = load_teacher("teacher.onnx")
    """


class UnsupportedTeacherError(ZskdError):
    """The file is not a classifier that this package can read, or lacks what a recipe needs.

    try:
        compress("teacher.onnx", "out", recipe="deep-inversion")
    except UnsupportedTeacherError as error:
        print(error)  # the message names built-in recipes without the requirement
    """

    exit_code = 3


class ParityError(ZskdError):
    """The same model gives different values in torch and in onnxruntime, or a student does not fit.

    try:
        verify("out", teacher="teacher.onnx")
    except ParityError as error:
        raise SystemExit(f"do not deploy: {error}")
    """

    exit_code = 4


class QualityError(ZskdError):
    """The student missed a quality gate.

    result = compress("teacher.onnx", "out", overrides=["deployment.min_agreement=0.9"])
    try:
        result.check()
    except QualityError as error:
        print(error, "-- the student was written nevertheless")
    """

    exit_code = 5


class PeerLostError(ZskdError):
    """Another process of a run that torchrun started has ended, so that this one cannot go on.

    try:
        compress("teacher.onnx", "out")
    except PeerLostError:
        sys.exit(1)  # torchrun --max-restarts 3 starts all of them again, and the run continues
    """


class Cancelled(ZskdError):
    """A listener stopped the run; what was made is kept.

    def listen(event):
        if stop_button.pressed:
            raise Cancelled

    try:
        compress("teacher.onnx", "out", listener=listen)
    except Cancelled:
        compress(None, "out", resume=True)  # later
    """

    exit_code = 130

    def __str__(self) -> str:
        return super().__str__() or "cancelled"


class DomainWarning(UserWarning):
    """Something about the teacher's input is assumed, and the student is useless if it is wrong.

    with warnings.catch_warnings():
        warnings.simplefilter("error", DomainWarning)  # let the run fail
        compress("teacher.onnx", "out")
    """
