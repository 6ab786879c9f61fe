"""The files of the demo, made by ``make_digits_teacher.py``."""
