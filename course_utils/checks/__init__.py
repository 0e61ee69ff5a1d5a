"""Exercises: `check` says what is wrong, `solution` shows the library's own code; and the `quiz`.

An exercise is data, in lesson_NN.py; engine runs it, compare finds what differs, report shows it,
wrong holds the mistakes, probes and judgements that several exercises share.
"""

from course_utils.checks.engine import check, solution
from course_utils.checks.quiz import quiz
