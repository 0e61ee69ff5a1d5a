"""A guess that is entered before the truth is shown, by a slider or options; both are kept."""

import html
import json

import traitlets
from IPython.display import display

from course_utils import questions, record
from course_utils.figures import as_shown
from course_utils.widgets.slider import Slider, source

NOT_YET = "no guess yet"
said, told = {}, set()  # in this session: the guesses, and those whose truth was shown beside them


def guess(name, value=None):
    """Show the control of a question of the lesson, such as "07.with_two"; value enters a guess.

    Raises KeyError if there is no such question, ValueError if the value is none of its places.

    >>> guess("07.with_two", 40)
    <...Guess object at ...>
    """
    control = Guess(name)
    if value is not None:
        control.value = place(name, value)
        record.said(name, control.value)  # where it stood there already, too
    display(control)


def truth(name, value=None):
    """Print the truth of a question beside what was guessed, if it was; of numbers, any will do.

    Without a value it is that of the data. Raises KeyError if there is no such question, ValueError
    if there is no truth, or it is none of the choices.

    >>> truth("07.way", "first")
    the best before any uptraining: first.
    """
    question = questions.find(name)
    if value is None and "truth" not in question:
        raise ValueError(f"{name} needs its truth: truth({name!r}, …), as its cell worked it out")
    value = plain(question.get("truth") if value is None else value)
    if "choices" in question or isinstance(value, str):
        value = place(name, value)
    yours = guessed(name)
    if yours is not None:
        told.add(name)
    record.shown(name, value)
    it_is = questions.words(question, value)
    if yours is not None:
        it_is = f"you said {questions.words(question, yours)}; the answer is {it_is}"
    print(f"{question['ask']}: {it_is}.")


def guessed(name):
    """What was guessed, in an earlier session or, where nothing is kept, in this one; else None."""
    kept = record.guessed(name)
    return said.get(name) if kept is None else kept


def plain(value):
    """A number of torch as Python's own; True and False as "yes" and "no"."""
    value = value.item() if hasattr(value, "item") else value
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def place(name, value):
    """The place of a question that a value is; of choices also a number that reads the same.

    Raises ValueError, with all places, if it is none.
    """
    question, value = questions.find(name), plain(value)
    value = str(value) if "choices" in question else value
    places = questions.places(question)
    if value not in places:
        raise ValueError(f"{name}: {value!r} is none of {', '.join(map(repr, places))}; give one")
    return value


class Guess(Slider):
    """The control of a question: a slider or options, `value` None until something was chosen.

    A guess of an earlier session is shown again. Raises KeyError if there is no such question.

    >>> control = Guess("07.with_two")
    >>> control.value = 35
    >>> control.texts[control.index]
    '35 %'
    """

    _esm = source("control.js", "waiting.js", "guess.js")
    _css = source("slider.css", "waiting.css")
    options = traitlets.Bool().tag(sync=True)

    def __init__(self, name):
        self.name, self.question = name, questions.find(name)
        values = [None, *questions.places(self.question)]
        options = "choices" in self.question
        super().__init__(self.question["ask"], values, self._words, options=options)
        yours = guessed(name)
        if yours in values:  # else the question is no longer the same
            self.value = yours
        self.observe(self._keep, "value")

    def _words(self, value):
        return NOT_YET if value is None else questions.words(self.question, value)

    def _keep(self, change):
        """Keep what is said, in this session and beyond; after the truth it stays as it was."""
        if change.new is None:
            return
        if self.name not in told:
            said[self.name] = change.new
        record.said(self.name, change.new)

    def _repr_mimebundle_(self, **kwargs):
        """The control; for readers without one, its places and how to enter a guess in code."""
        data, metadata = super()._repr_mimebundle_(**kwargs)
        places = self.texts[1:]
        of = " / ".join(places) if self.options else f"from {places[0]} to {places[-1]}"
        text = f"{self.label}: {of}."
        if self.value is not None:
            text = f"{text} You said {self.texts[self.index]}."
        call = f"guess({json.dumps(self.name)}, {json.dumps(self.values[1], ensure_ascii=False)})"
        page = f"{html.escape(text)} In code, as in <code>{html.escape(call, quote=False)}</code>"
        data["text/plain"] = f"{text} In code, as in {call}"
        data["text/html"] = f'<p style="font-size: 15px; padding: 6px">{page}</p>'
        return as_shown(data), metadata
