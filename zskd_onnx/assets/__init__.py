"""The demo's teacher, made by ``make_digits_teacher.py`` beside this file."""
