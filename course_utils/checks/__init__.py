"""Exercises: `check` says what is wrong, `solution` shows the library's own code."""

from course_utils.checks.engine import check, solution

__all__ = ["check", "solution"]
