"""``python -m zskd_onnx``."""

from zskd_onnx.cli.app import main

main()
