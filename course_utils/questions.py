"""What lessons ask to be guessed before they show it: data, a file a lesson in data/guesses.

A question has `ask` and the places a guess can take: `choices`, which are texts, or numbers,
`from` … `to` by `step`, or `values`. `text` says how a number reads, as in "{:.0f} %". `truth` is
there only where no cell can work it out.
"""

import json

from course_utils import data_path, did_you_mean


def questions():
    """All questions by name, in the order of the lessons."""
    files = sorted(data_path("guesses").glob("*.json"))
    each = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    return {name: question for lesson in each for name, question in lesson.items()}


def find(name):
    """The question called name, such as "07.with_two"; KeyError suggests the nearest.

    >>> find("07.with_two")["ask"]
    'right with 2 K/V heads'
    """
    every = questions()
    if name not in every:
        near = [other for other in every if other[:2] == name[:2]]
        there = f"there are {', '.join(near or every)}"
        is_lesson = near and not name[2:].strip(".")
        said = there if is_lesson else did_you_mean(name, every, there, n=1)
        raise KeyError(f"no question named {name!r}; {said}")
    return every[name]


def places(question):
    """What a guess can be: the choices, or the numbers of the slider.

    >>> places({"ask": "how many", "from": 0, "to": 1, "step": 0.25, "text": "{}"})
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if "step" not in question:
        return question.get("choices") or question["values"]
    start, step = question["from"], question["step"]
    return [round(start + i * step, 9) for i in range(round((question["to"] - start) / step) + 1)]


def words(question, value):
    """How a guess or a truth reads.

    >>> words({"ask": "right", "from": 0, "to": 100, "step": 5, "text": "{:.0f} %"}, 63.7)
    '64 %'
    """
    return value if "choices" in question else question.get("text", "{}").format(value)
