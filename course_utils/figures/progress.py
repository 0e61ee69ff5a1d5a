"""What a learner has passed, what a class is at, what it guessed."""

import textwrap
from functools import cache

import matplotlib as mpl
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle

from course_utils.figures.card import LOOK, QUERY, VALUE, Card
from course_utils.figures.parts import DARK, LIGHT

STATES = {  # colour, sign
    "passed": (VALUE, "✓"),
    "stuck": ("#D55E00", "!"),
    "trying": ("#F0E442", "…"),
    "left off": ("#CCCCCC", "‖"),
    "not begun": ("white", ""),
}
AS_WRITTEN = mpl.rc_context({"text.parse_math": False})  # a $ in a name is a $
WIDE = 11  # inches
LEFT, RIGHT = 2.8, WIDE - 0.15  # of what stands beside a name
LINE = 0.24
MOST = {
    "stuck": 8,
    "left off": 4,
    "exercises": 5,
    "mistakes": 4,
    "left out": 3,
}  # drawn; the words have all


@LOOK
@AS_WRITTEN
def rungs(lessons, title, alt):
    """The ladder from its first lesson up: {lesson: {exercise: (state, words)}}, and all in words.

    The states are "passed", "trying" and "not begun".
    """
    figure, axes = sheet(9.6, 0.5 * len(lessons) + 0.6, alt)
    axes.set(ylim=(-0.7, len(lessons) + 0.4))
    axes.text(0.15, len(lessons) - 0.1, title, fontsize=14, fontweight="bold")
    for x in (0.75, 9.45):  # the rails
        axes.plot([x, x], [-0.5, len(lessons) - 0.4], color=LIGHT, lw=5, zorder=0)
    for y, (lesson, exercises) in enumerate(lessons.items()):
        axes.plot([0.75, 9.45], [y, y], color=LIGHT, lw=5, zorder=0)
        axes.text(0.5, y, lesson, ha="right", va="center", fontweight="bold")
        for i, (name, (state, words)) in enumerate(exercises.items()):
            fill, sign = STATES[state]
            is_begun = state != "not begun"
            x, look = 1 + 2.8 * i, {"lw": 1.5} if is_begun else {"lw": 1, "ls": "--"}
            axes.add_patch(Rectangle((x, y - 0.38), 2.65, 0.76, fc=fill, ec=DARK, **look))
            for up, text, size in ((0.16, f"{sign} {name}".strip(), 10.5), (-0.19, words, 9)):
                axes.text(x + 0.1, y + up, text, va="center", fontsize=size)
    return figure


@LOOK
@AS_WRITTEN
def classroom(title, see, when, rest, learners, exercises, stuck, left_off, left_out, alt):
    """What a class is at: a square for each learner and exercise, who is stuck, which mistakes.

    see is under the title, rest at the end. learners: their names, cut `short`.
    exercises: {name: (states, words, mistakes)}, where states
    are (state, attempts) of each learner, and mistakes, the commonest first, (mistake, how many met
    it, names of those who are in it now). stuck, left_off and left_out are lines; alt is all
    of it in words.
    """
    each = min(0.42, (RIGHT - LEFT) / max(len(learners), 1))
    parts = [*paragraph(title, 16, 0.32, weight="bold"), *paragraph(see, 11, LINE)]
    parts += paragraph(when, 10, LINE)
    if exercises:
        parts += [(0.3, states_key), heads(learners, each)]
        parts += [(0.3, row_of(name, states, each)) for name, (states, *_) in exercises.items()]
    if stuck:
        parts += [(0.15, None), *paragraph("Stuck", 13, 0.34, weight="bold")]
        parts += few(stuck, MOST["stuck"])
    if left_off:
        parts += [(0.15, None), *paragraph("Left off", 12, 0.3, weight="bold")]
        parts += few(left_off, MOST["left off"])
    met = [item for item in by_open(exercises) if item[1][2]]
    for name, (_, words, mistakes) in met[: MOST["exercises"]]:
        parts += [(0.15, None), *paragraph(f"{name}: {words}", 12, 0.32, weight="bold")]
        parts += [bar(*mistake, len(learners)) for mistake in mistakes[: MOST["mistakes"]]]
        parts += more(len(mistakes) - MOST["mistakes"])
    if len(met) > MOST["exercises"]:
        parts += [(0.15, None), *more(len(met) - MOST["exercises"], " exercises")]
    if left_out:
        parts += [(0.15, None), *paragraph("Left out", 12, 0.3, weight="bold")]
        parts += few(left_out, MOST["left out"])
    if rest:
        parts += [(0.15, None), *paragraph(rest, 10, LINE)]
    tall = 0.3 + sum(height for height, _ in parts)
    figure, axes = sheet(WIDE, tall, alt)
    y = tall - 0.15
    for height, draw in parts:
        y -= height
        if draw:
            draw(axes, y)
    return figure


@LOOK
@AS_WRITTEN
def guesses(question, places, counts, truth, alt, words):
    """How many guessed each place, and the truth: (where it is on the axis, how it reads) or None.

    places: how the places read; the i-th is at i, so a truth may lie between two.
    """
    n, top = len(places), max(*counts, 1)
    is_few, widest = n <= 6, max(width(x, 12) for x in places)
    shown = range(0, n, 1 if is_few else spaced(n, widest))
    left = 0.1 if is_few else 0.1 + widest / 2  # inches
    each = (9.6 - 2 * left) / (n + 0.2)  # from one place to the next
    labels = [wrapped(places[i], 0.92 * each * shown.step, 12) for i in shown]
    title = wrapped(question, 9.4, 14, "bold")
    low, high = 0.42 + 0.24 * max(map(len, labels)), 0.15 + 0.25 * len(title)
    tall = low + 3 + high
    figure = Card(9.6, tall, alt)
    figure.set_layout_engine("none")  # every place is given
    axes = figure.add_axes((left / 9.6, low / tall, 1 - 2 * left / 9.6, 3 / tall))
    is_it = [truth is not None and i == truth[0] for i in range(n)]
    look = {"color": [VALUE if x else "#C9D9E8" for x in is_it], "edgecolor": QUERY}
    axes.bar(range(n), counts, 0.8, **look)
    for i, count in enumerate(counts):
        if count:
            axes.text(i, count + 0.02 * top, str(count), ha="center")
    if truth is not None:
        x, text = truth[0], f"it is {truth[1]}"
        y = counts[x] + 0.13 * top if any(is_it) else 1.2 * top
        half = width(text, 12, "bold") / 2 / each
        at = min(max(x, half - 0.6), n - 0.4 - half)
        axes.text(at, y, text, fontweight="bold", va="bottom", ha="center")
        if not any(is_it):
            axes.plot([x, x], [0, 1.18 * top], color="black", lw=2, ls="--")
    axes.set_xticks(shown, map("\n".join, labels))
    axes.set(xlim=(-0.6, n - 0.4), ylim=(0, 1.4 * top), yticks=[], xlabel=words)
    axes.spines.left.set_visible(False)
    axes.set_title("\n".join(title), pad=2)
    return figure


def spaced(n, wide):
    """Every how many-th of n places is named where names are so wide; the last too, if it can."""
    least = -(-n // int(9.2 / (0.25 + wide)))
    return next((k for k in range(least, 2 * least + 1) if (n - 1) % k == 0), least)


def sheet(width, height, alt):
    """A Card with axes over all of it, in inches."""
    figure = Card(width, height, alt)
    figure.set_layout_engine("none")  # every place is given
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


@cache
def letter(x, weight="normal"):
    """How wide a letter is in parts of its size; None if the type of the pictures lacks it."""
    font = get_font(findfont(FontProperties(weight=weight)))
    font.set_size(100, 72)
    has_it = font.get_char_index(ord(x))
    return font.load_char(ord(x)).linearHoriAdvance / 6553600 if has_it else None


def can_draw(text):
    """Whether the type of the pictures has every letter of this text.

    >>> can_draw("Zoë"), can_draw("李")
    (True, False)
    """
    return all(letter(x) is not None for x in text)


def width(text, size, weight="normal"):
    """How wide a text is at most, in inches: as it is drawn a letter may be rounded up."""
    return 1.03 * size / 72 * sum(letter(x, weight) or 1 for x in text)


def wrapped(text, inches, size, weight="normal", **how):
    """The lines of a text that are not wider than this; a letter that cannot be drawn is a □."""
    text = "".join(x if can_draw(x) else "□" for x in text)
    for letters in range(int(16 * inches * 10 / size), 1, -1):
        lines = textwrap.wrap(text, letters, **how)
        if all(width(line, size, weight) <= inches for line in lines):
            break
    return lines


def short(name, most=14):
    """A name of so many letters at most.

    >>> short("Wolfeschlegelsteinhausen")
    'Wolfeschlegel…'
    """
    return name if len(name) <= most else name[: most - 1] + "…"


def paragraph(text, size, height, x=0.15, weight="normal", color="black"):
    """Lines of a text across the picture: a height and what draws it for each."""
    look = {"fontsize": size, "fontweight": weight, "color": color}
    for line in wrapped(text, RIGHT - x, size, weight):
        yield height, lambda axes, y, line=line: axes.text(x, y + 0.07, line, **look)


def few(lines, most):
    """The first of these lines, and how many more there are."""
    for line in lines[:most]:
        yield from paragraph(line, 10.5, LINE)
    yield from more(len(lines) - most)


def more(n, what=""):
    return paragraph(f"and {n} more{what}", 10.5, LINE, color=DARK) if n > 0 else ()


def states_key(axes, y):
    """What the squares mean."""
    for i, (state, (_, sign)) in enumerate(STATES.items()):
        x = LEFT + 1.5 * i
        squares(axes, x, y + 0.03, 0.24, 0.24, [state], [sign])
        axes.text(x + 0.32, y + 0.15, state, va="center", fontsize=10)
    text = "!6: stuck, 6 attempts"
    axes.text(LEFT - 0.12, y + 0.15, text, va="center", ha="right", fontsize=10)


def squares(axes, x, y, width, height, states, texts):
    """Squares side by side, each with a text that fits into it."""
    look = {"facecolors": [STATES[state][0] for state in states], "edgecolors": DARK, "lw": 0.8}
    axes.broken_barh([(x + i * width, width) for i in range(len(states))], (y, height), **look)
    for i, text in enumerate(texts):
        size = min(10, 72 * width / max(len(text), 2) * 1.4)
        middle = (x + (i + 0.5) * width, y + height / 2)
        if text:
            axes.text(*middle, text, ha="center", va="center", fontsize=size)


def heads(learners, each):
    """The learners' names, upright, over their columns: a height and what draws them."""
    size = min(10, each * 72)
    look = {"rotation": 90, "ha": "center", "va": "bottom", "fontsize": size}

    def draw(axes, y):
        for i, name in enumerate(learners):
            axes.text(LEFT + each * (i + 0.5), y + 0.06, name, **look)

    return 0.15 + max(width(name, size) for name in learners), draw


def row_of(name, states, each):
    """What draws an exercise's squares: a sign, and the attempts of who has not passed."""

    def draw(axes, y):
        axes.text(LEFT - 0.12, y + 0.15, name, ha="right", va="center", fontsize=10.5)
        signs = [STATES[state][1] for state, _ in states]
        is_open = [state in ("stuck", "trying") and each > 0.25 for state, _ in states]
        texts = [
            f"{sign}{n}" if x else sign
            for sign, x, (_, n) in zip(signs, is_open, states, strict=True)
        ]
        squares(axes, LEFT, y, each, 0.3, [state for state, _ in states], texts)

    return draw


def by_open(exercises):
    """The exercises, those first that most learners are at, then those that most left off."""

    def is_in(item):
        states = [state for state, _ in item[1][0]]
        return -states.count("stuck") - states.count("trying"), -states.count("left off")

    return sorted(exercises.items(), key=is_in)


def bar(mistake, met, now, n):
    """How many of n learners met a mistake, and who is in it now: a height and what draws it."""
    names = ", ".join(now)
    said = f"{mistake}: {met} met it" + (f", {len(now)} in it now: {names}" if now else "")
    lines = wrapped(said, RIGHT - LEFT, 10.5, max_lines=2, placeholder=" …")
    height, wide = LINE * len(lines) + 0.08, LEFT - 0.45

    def draw(axes, y):
        y += height - 0.27
        for x, look in ((met, {"fc": "#F7D9C4"}), (len(now), {"fc": "#D55E00", "hatch": "///"})):
            axes.add_patch(Rectangle((0.15, y), wide * x / n, 0.2, ec=DARK, lw=0.8, **look))
        for i, line in enumerate(lines):
            axes.text(LEFT - 0.15, y + 0.04 - i * LINE, line, fontsize=10.5)

    return height, draw
