"""The importer and other converters, put to the same tests (``benchmarks/converters.py``)."""
