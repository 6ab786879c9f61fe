"""``python -m zskd_onnx``."""

from zskd_onnx.cli import main

main()
