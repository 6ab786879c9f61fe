"""The command line from a checkout: ``python cli.py compress teacher.onnx``."""

from pathlib import Path

import zskd_onnx

# An installed package has the recipes inside; a checkout has them beside the package.
zskd_onnx.__path__.append(str(Path(__file__).resolve().parent))

from zskd_onnx.cli.app import main  # noqa: E402

if __name__ == "__main__":
    main()
