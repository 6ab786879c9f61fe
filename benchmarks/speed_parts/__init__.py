"""The parts of ``speed.py``: one module for each kind of row."""
