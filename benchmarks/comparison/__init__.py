"""The tests of ``benchmarks/converters.py``, and the processes that run the converters."""
