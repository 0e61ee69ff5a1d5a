"""One example of the recall task: what the model reads, and what it is to answer."""

from course_utils.figures.card import KEY, LOOK, QUERY, VALUE, Card
from course_utils.figures.parts import bare, square


@LOOK
def questions(doors, rooms, asked, attributes, row):
    """The rows of one example as two tables, and where the answers to question `row` stand.

    doors (8, 6), rooms (8,), asked (t, 6), as `recall.examples` gives them, of one example.
    """
    right = [doors[:, a].tolist().index(x) for a, x in enumerate(asked[row].tolist())]
    answers = rooms[right].tolist()
    said = "; ".join(
        f"{name} {x}: door {j}, room {room}"
        for name, x, j, room in zip(attributes, asked[row].tolist(), right, answers, strict=True)
    )
    figure = Card(
        11,
        4.4,
        f"Two tables of numbers. {len(doors)} door rows: {len(attributes)} attributes and a room. "
        f"{len(asked)} question rows: a value of each attribute. Question {row}: {said}.",
    )
    known, wanted = figure.subplots(1, 2, width_ratios=[len(attributes) + 1, len(attributes)])
    rows = [[*values, room] for values, room in zip(doors.tolist(), rooms.tolist(), strict=True)]
    filled = {(j, a): KEY for a, j in enumerate(right)}
    table(known, rows, filled | {(j, len(attributes)): VALUE for j in right})
    known.set_xticks(range(len(attributes) + 1), [*attributes, "room"])
    known.set_yticks(range(len(doors)), [f"door {j}" for j in range(len(doors))])
    known.set_title(f"{len(doors)} door rows", pad=10)
    below = len(asked) + 0.7
    table(wanted, asked.tolist(), {(row, a): QUERY for a in range(len(attributes))})
    table(wanted, [answers], {(0, a): VALUE for a in range(len(attributes))}, below)
    wanted.set_xticks(range(len(attributes)), attributes)
    wanted.set_yticks(
        [*range(len(asked)), below],
        [*(f"question {i}" for i in range(len(asked))), f"answers to {row}"],
    )
    wanted.set_title(f"{len(asked)} question rows", pad=10)
    for axes in (known, wanted):
        axes.set_ylim(below + 0.6, -0.6)
        axes.xaxis.tick_top()
        bare(axes)
    return figure


def table(axes, rows, filled, top=0):
    """Numbers in squares, row after row from `top`; filled: {(row, column): colour} of some."""
    for i, row in enumerate(rows):
        for a, number in enumerate(row):
            fill, weight = filled.get((i, a), "white"), "bold" if (i, a) in filled else "normal"
            square(axes, a, top + i, fill, number, "#B0B0B0", lw=0.8, fontweight=weight)
    axes.set_xlim(-0.6, len(rows[0]) - 0.4)
