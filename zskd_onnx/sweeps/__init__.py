"""Many runs, one table."""

from zskd_onnx.sweeps.running import Sweep, sweep

__all__ = ["Sweep", "sweep"]
