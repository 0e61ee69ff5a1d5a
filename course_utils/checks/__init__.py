"""Exercises: `check` says what is wrong, `solution` shows the answer; and the `quiz`.

An exercise is data, in lesson_NN.py; its solution is what has its name in course_utils/ladder.py.
engine judges an answer: running runs it, compare finds what differs, recognise names the mistake,
gradients looks whether it learns; report shows what came out, maps draws it. wrong holds the
mistakes, probes and judgements that several exercises share, draws how other probes are drawn.
"""

from course_utils.checks.engine import check, solution
from course_utils.checks.quiz import quiz
