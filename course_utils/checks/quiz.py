"""The quizzes at the end of the lessons: the questions are data, in data/quizzes.

Plain HTML that unfolds: it needs no script, no network and no kernel, so it works in JupyterLab,
in Colab, by keyboard, and in a stored notebook that nobody has run.
"""

import json
import random
import re

from IPython.display import display

from course_utils import data_path
from course_utils.checks.report import details


def quiz(lesson):
    """Show the quiz of a lesson, such as "01": each answer unfolds to say why it is right or not.

    Raises FileNotFoundError if the lesson has none.

    >>> quiz("01")
    {'text/plain': '1. Three scores are 0, 0 and 0.693. What are the weights?...
    """
    shown = pages(lesson)
    page = "".join(page for page, _ in shown)
    page = f'<div style="font-size: 15px; line-height: 1.6; max-width: 48em">{page}</div>'
    display({"text/plain": "".join(text for _, text in shown), "text/html": page}, raw=True)


def pages(lesson):
    """Of each question of a lesson's quiz, what it shows: (HTML, text)."""
    questions = json.loads(data_path("quizzes", f"{lesson}.json").read_text(encoding="utf-8"))
    shown = []
    for number, question in enumerate(questions, start=1):
        page = f'<p style="margin: 1em 0 0">{number}. <b>{question["question"]}</b></p>'
        text = f"{number}. {re.sub('<.*?>', '', question['question'])}\n"
        answers = question["answers"]
        random.Random(question["question"]).shuffle(answers)  # the same order every time
        for answer in answers:
            verdict = "Right." if answer["right"] else "No."
            page += details(answer["answer"], f"<p><b>{verdict}</b> {answer['why']}</p>")
            text += f"   - {answer['answer']}\n"
        shown.append((page, text))
    return shown
