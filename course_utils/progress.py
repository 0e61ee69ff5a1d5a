"""What a learner has passed, and what a class is at: `show`, `export`, `class_summary`."""

import base64
import html
import re
import time
from collections import Counter
from pathlib import Path
from statistics import median_low
from typing import NamedTuple

import numpy as np
from IPython.display import display

from course_utils import figures, questions, record
from course_utils.checks.engine import exercises

STUCK_MINUTES, STUCK_ATTEMPTS = 10, 5
AT_WORK = 30  # minutes: who tried nothing for longer has left off
BEGUN = [state for state in figures.STATES if state != "not begun"]
TOO_LARGE = 1_000_000  # bytes: a whole course takes some ten thousand
KEPT = """\
What is kept of you, all of it in one file that you can read:
- of each exercise that you tried: how often, which named mistakes were met and how often, when you
  tried it first and last, and when it passed;
- of each question you guessed at: your guess, the truth it stood beside, and when;
- eight random characters, so that two files of yours can be told to be one learner's;
- a name only if you give one, with progress.export("your name"); progress.export("") drops it.
  Without one an instructor sees the eight characters; on a hub, the name of your folder.
Your code, your notes, what errors said, which hints you opened: none of that is kept.
Nothing leaves this machine by itself. An instructor sees the file if you hand it in, or if you work
on a hub where they may read your folder; so does anyone else who may. To keep nothing, set
COURSE_PROGRESS=off before you start Jupyter, or run %env COURSE_PROGRESS=off in a lesson. To forget
what is kept, delete the file, and beside it the one that progress.export() made (progress-….json)
and any that was set aside (damaged-….json)."""


class Learner(NamedTuple):
    """Of one learner, what their newest file keeps."""

    name: str  # as all words say it
    sign: str  # as pictures do
    exercises: dict
    guesses: dict
    tag: str  # the random characters


def what_is_kept():
    """Say what is kept of a learner, where, and who sees it."""
    print(f"{KEPT}\n\n{where()}")


def where():
    """Where progress is kept, in words."""
    file = record.path()
    if file is None:
        return "Progress is off (COURSE_PROGRESS=off): nothing is kept."
    if not record.in_colab():
        return f"Kept in {file}; nothing leaves this machine by itself."
    if record.in_drive():
        return f"Kept in your Google Drive, {file}; it is sent to nobody."
    return f"Kept in {file}, which ends with this runtime. To keep it: {record.MOUNT}."


def show():
    """Show the ladder of the exercises: passed, tried how often, or not begun."""
    whole = record.read()
    kept, guesses = whole["exercises"], count(len(whole["guesses"]), "guess")
    lessons, said = {}, []
    for name in exercises():
        lesson, _, short = name.partition(".")
        state, words = of_exercise(kept.get(name))
        lessons.setdefault(lesson, {})[short] = (state, words)
        if state != "not begun":
            said.append(f"{name}: {words}.")
    passed = sum(state == "passed" for row in lessons.values() for state, _ in row.values())
    alt = [f"{passed} of {len(exercises())} exercises passed.", *said]
    if len(said) < len(exercises()):
        alt.append("The others are not begun." if said else "None is begun.")
    display(figures.rungs(lessons, alt[0].rstrip("."), " ".join(alt)))
    print(f"{guesses} entered. {where()}")
    print("To hand it in: progress.export(). What is in it: progress.what_is_kept().")


def of_exercise(entry):
    """The state of an exercise and what to say of it, from what is kept of it or None."""
    if not entry:
        return "not begun", "not begun"
    tried = count(entry["attempts"], "attempt")
    return ("passed", f"passed, {tried}") if entry["passed"] else ("trying", f"{tried} so far")


def export(name=None):
    """Write the file to hand in, beside your progress, and say where it is and what is in it.

    It takes the place of an earlier one. name: yours, if you like to give one; "" takes it back.
    """
    own = record.path()
    if own is None:
        print(where())
        return
    if name is not None:
        written = "".join(x if record.is_written(x) else " " for x in name)
        record.named(" ".join(written.split())[:80])
    record.update(lambda kept: None)  # so that a learner is the same in each file
    try:
        kept = record.read(own)
        file = own.with_name(f"progress-{file_name(kept['name']) or kept['learner']}.json")
        record.write(file, kept)
        for other in own.parent.glob("progress-*.json"):
            if other != file and is_of(other, kept["learner"]):
                other.unlink()  # a name that was taken back is not left there
    except (OSError, record.Newer) as error:
        print(f"Nothing to hand in was written: {error}.")  # update has said what to do
        return
    passed = sum(bool(entry["passed"]) for entry in kept["exercises"].values())
    text = (
        f"To hand in: {file}\nIn it: {count(len(kept['exercises']), 'exercise')} tried, with "
        f"attempts and named mistakes, {passed} passed; {count(len(kept['guesses']), 'guess')}; "
        f"{'the name ' + kept['name'] if kept['name'] else 'no name'}; no code. "
        "progress.what_is_kept() says more."
    )
    page = base64.b64encode(file.read_bytes()).decode()
    link = f'<a download="{file.name}" href="data:application/json;base64,{page}">Download it</a>'
    lines = html.escape(text).replace("\n", "<br>")
    data = {"text/plain": text, "text/html": f'<p style="font-size: 15px">{lines}<br>{link}</p>'}
    display(data, raw=True)


def is_of(file, learner):
    """Whether a file is a learner's export."""
    try:
        return record.read(file)["learner"] == learner
    except (OSError, ValueError):
        return False  # not one of ours: it stays


def file_name(name):
    """What a file may be called after a name: its letters and digits.

    >>> file_name("Zoë van Dam"), file_name("../etc"), file_name("!")
    ('Zoë_van_Dam', 'etc', '')
    """
    letters = "".join(x if x.isalnum() or x in "-_" else " " for x in name)
    return "_".join(letters.split())[:40]


def class_summary(folder, every=None, names=True):
    """Show which mistakes are in the room, who is stuck, and what has passed.

    folder: where the files are that learners handed in, or the folder of a hub in which theirs are;
    folders in it count, too. every: seconds after which it is drawn anew, until you interrupt (■).
    names=False numbers the learners, for a screen that all can see.
    """
    again(lambda: summary(folder, names), every)


def class_guesses(name, folder, every=None, truth=True):
    """Show how many in the room guessed what, and the truth once a learner has been shown it.

    A truth that no cell works out is shown at once; truth=False hides it while the room still
    guesses. name: of the question, as "07.way". Raises KeyError if there is no such question.
    """
    again(lambda: guess_chart(name, folder, truth), every)


def again(draw, every):
    """Show what draw makes; every so many seconds in its place what it then makes, if another.

    The clock alone makes no other, and the words stay unfolded.
    """
    try:
        shown = draw()
    except NotADirectoryError as error:
        print(error)
        return
    data, metadata = bundle(shown, is_open=bool(every))
    handle = display(data, metadata=metadata, raw=True, display_id=True)
    try:
        while every:
            time.sleep(every)
            new = draw()
            if untimed(new.alt) != untimed(shown.alt):
                shown = new
                data, metadata = bundle(shown, is_open=True)
                handle.update(data, metadata=metadata, raw=True)
    except KeyboardInterrupt:
        print("No longer updated.")


def untimed(text):
    """A text without its clock and how long ago things were.

    >>> untimed("26 Nov 2026, 10:30: for 2 h, last one 3 min ago")
    '26 Nov 2026, : for , last one  ago'
    """
    return re.sub(r"\d\d:\d\d|\d+ (min|h|days)\b", "", text)


def bundle(figure, is_open):
    """A picture as a notebook shows it, and below it all of it in words, unfolded if is_open."""
    data, metadata = figure._repr_mimebundle_()
    if "text/html" in data:
        said = f"<pre>{html.escape(figure.alt)}</pre>"
        data["text/html"] += (
            f"<details{' open' * is_open}><summary>All of it in words</summary>{said}</details>"
        )
    return data, metadata


def summary(folder, names=True):
    """The picture of `class_summary`, all of it in words as its alt."""
    learners, left_out = in_folder(folder)
    if not names:
        each = enumerate(sorted(learners, key=lambda x: x.tag), start=1)
        learners = [x._replace(name=f"{i}", sign=f"{i}") for i, x in each]
        left_out = without_names(left_out)
    else:
        left_out = [" ".join(x) for x in left_out]
    now = record.moment(record.now())
    rows, every = {}, {"stuck": [], "left off": []}
    for name in exercises():
        states = [state_of(learner.exercises.get(name), now) for learner in learners]
        if any(state != "not begun" for state, _ in states):
            rows[name] = (states, tally(states), mistakes_of(name, learners, now))
            for x, (state, _) in zip(learners, states, strict=True):
                if state in every:
                    every[state].append((x, name, x.exercises[name]))
    stuck = [(x, how_long(*rest, now)) for x, *rest in sorted(every["stuck"], key=by_need)]
    left = sorted(every["left off"], key=lambda x: minutes(x[2]["last"], now))
    left = [(x, left_at(*rest, now)) for x, *rest in left]
    none = f"No file of progress.export() in {folder} yet"
    title = headline(rows, len(learners)) if learners else none
    when = f"{count(len(learners), 'learner')}, {now.astimezone():%d %b %Y, %H:%M}"
    drawn = {
        name: (states, words, [(what, n, [x.sign for x in now_in]) for what, n, now_in, _ in met])
        for name, (states, words, met) in rows.items()
    }
    signs = [learner.sign for learner in learners]
    who, gone = ([f"{learner.sign}: {rest}" for learner, rest in x] for x in (stuck, left))
    said = [
        *mistakes_in_words(rows),
        *section("Stuck", [f"{learner.name}: {rest}" for learner, rest in stuck]),
        *section("Left off", [f"{learner.name}: {rest}" for learner, rest in left]),
        *section("Learners", [*each_in_words(learners, rows)]),
        *section("Left out", left_out),
    ]
    see, rest = to_say(rows), untouched(rows)
    alt = "\n".join(filter(None, [f"{title}.", see, f"{when}.", *said, rest]))
    return figures.classroom(title, see, when, rest, signs, drawn, who, gone, left_out, alt)


def tally(states):
    """How many learners are in each state, in words."""
    counts = Counter(state for state, _ in states)
    return ", ".join(f"{counts[state]} {state}" for state in figures.STATES if counts[state])


def untouched(rows):
    """Which exercises no one has begun, in words, or ""."""
    every = [*exercises()]
    rest = [name for name in every if name not in rows]
    if not rest or not rows:
        return ""
    is_tail = rest == every[-len(rest) :]
    return f"Begun by no one: {f'{rest[0]} and later' if is_tail else ', '.join(rest)}."


def top(rows):
    """(how it is said, how many are in it, mistake, exercise) of the one to speak of, or None."""
    each = [(name, met) for name, (*_, mistakes) in rows.items() for met in mistakes]
    for begin, which in (("In the room now", 2), ("Left off in", 3)):
        in_it = [(begin, len(met[which]), met[0], name) for name, met in each if met[which]]
        if in_it:
            return max(in_it, key=lambda x: x[1])
    return None


def headline(rows, n):
    """The mistake that most of n learners are in now, or left off in; else what has passed."""
    if found := top(rows):
        begin, most, mistake, name = found
        return f"{begin}: {mistake}, {most} of {count(n, 'learner')}, in {name}"
    passed = {name: sum(x == "passed" for x, _ in row[0]) for name, row in rows.items()}
    for name in reversed(passed):
        if passed[name]:
            return f"No one is in a mistake: {name} has passed, {passed[name]} of {n}"
    return "No one has begun"


def to_say(rows):
    """How to see the mistake of the headline, or ""."""
    *_, mistake, name = top(rows) or ("", "")
    known = exercises()[name].mistakes if name else {}
    return f"To say: {known[mistake].see}" if mistake in known else ""


def mistakes_in_words(rows):
    """Of each exercise how many passed it, and its mistakes."""
    for name, (_, words, met) in rows.items():
        yield f"{name}: {words}."
        for mistake, n, *who in met:
            said = f"  {mistake}: {n} met it"
            for learners, where in zip(who, ("in it now", "left off in it"), strict=True):
                if learners:
                    said += f", {len(learners)} {where}: {', '.join(x.name for x in learners)}"
            yield said


def each_in_words(learners, rows):
    """Of each learner what has passed and what has not."""
    for i, learner in enumerate(learners):
        by_state = {}
        for name, (states, *_) in rows.items():
            by_state.setdefault(states[i][0], []).append(name)
        said = [f"{x} {', '.join(by_state[x])}" for x in BEGUN if x in by_state]
        yield f"{learner.name}: {'; '.join(said) or 'nothing begun'}"


def section(title, lines):
    return [f"{title}:", *(f"  {line}" for line in lines)] if lines else []


def state_of(entry, now):
    """(one of figures.STATES, attempts) of what is kept of an exercise."""
    if not entry:
        return "not begun", 0
    if entry["passed"]:
        return "passed", entry["attempts"]
    if minutes(entry["last"], now) > AT_WORK:
        return "left off", entry["attempts"]
    is_stuck = entry["attempts"] >= STUCK_ATTEMPTS or minutes(entry["first"], now) >= STUCK_MINUTES
    return "stuck" if is_stuck else "trying", entry["attempts"]


def mistakes_of(name, learners, now):
    """(mistake, how many met it, who is in it now, who left off in it), the commonest first."""
    met, now_in, left_in = Counter(), {}, {}
    for learner in learners:
        entry = learner.exercises.get(name)
        if not entry:
            continue
        met.update(entry["mistakes"].keys())
        if entry["mistakes"] and not entry["passed"]:
            in_it = left_in if state_of(entry, now)[0] == "left off" else now_in
            in_it.setdefault([*entry["mistakes"]][-1], []).append(learner)
    every = [(x, n, now_in.get(x, []), left_in.get(x, [])) for x, n in met.items()]
    return sorted(every, key=lambda x: (-x[1], -len(x[2]), -len(x[3]), x[0]))


def by_need(stuck):
    """Sorts what a learner tried last before what they left behind, then who began earlier."""
    learner, _, entry = stuck
    is_behind = any(entry["last"] < other["last"] for other in learner.exercises.values())
    return is_behind, entry["first"]


def how_long(name, entry, now):
    """At what one who is stuck is, and for how long."""
    first, last = (span(minutes(entry[x], now)) for x in ("first", "last"))
    return f"{at_what(name, entry)}, for {first}, last one {last} ago"


def left_at(name, entry, now):
    """In what one left off, and when."""
    return f"left off {at_what(name, entry)}, last attempt {span(minutes(entry['last'], now))} ago"


def at_what(name, entry):
    mistake = [*entry["mistakes"]][-1] if entry["mistakes"] else "no mistake named"
    return f"{name}, {mistake}, {count(entry['attempts'], 'attempt')}"


def minutes(when, now):
    """Minutes since then; none where a clock is ahead."""
    return max((now - record.moment(when)).total_seconds() / 60, 0)


def span(minutes):
    """A time in words.

    >>> span(0.4), span(12.9), span(150), span(5000)
    ('0 min', '12 min', '2 h', '3 days')
    """
    if minutes < 120:
        return f"{int(minutes)} min"
    return f"{int(minutes / 60)} h" if minutes < 48 * 60 else f"{int(minutes / 1440)} days"


def guess_chart(name, folder, is_shown=True):
    """The picture of `class_guesses`."""
    question = questions.find(name)
    learners, left_out = in_folder(folder)
    kept = [learner.guesses[name] for learner in learners if name in learner.guesses]
    places, counts, others = questions.places(question), Counter(), 0
    for said in (guess["said"] for guess in kept):
        place = nearest(said, places)
        counts[place] += 1
        others += place is None
    met = [guess["truth"] for guess in kept if guess["truth"] is not None]
    truth = truth_of(question, met) if is_shown else None
    reads = [questions.words(question, place) for place in places]
    each = [f"{reads[i]}: {counts[i]}" for i in range(len(places)) if counts[i]]
    words = f"{len(kept)} of {count(len(learners), 'learner')} guessed"
    words += f", {others} something else" * bool(others)
    said = [f"{name}: {question['ask']}. {words}." + f" {'; '.join(each)}." * bool(each)]
    at = None
    if truth is not None and (at := on_axis(truth, places)) is not None:
        at = (at, questions.words(question, truth))
        said.append(f"It is {at[1]}.")
    said += [f"{line}." for line in without_names(left_out)]
    bars = [counts[i] for i in range(len(places))]
    title = f"Lesson {name[:2]}, {name}: {question['ask']}"
    return figures.guesses(title, reads, bars, at, " ".join(said), words)


def nearest(said, places):
    """The index of the place that a guess is at, or None: it answers another question."""
    if isinstance(places[0], str) or isinstance(said, str):
        return places.index(said) if said in places else None
    return min(range(len(places)), key=lambda i: abs(places[i] - said))


def truth_of(question, truths):
    """What learners were shown: the commonest choice, the middle number; else what is known."""
    kind = str if "choices" in question else (int, float)
    truths = [truth for truth in truths if isinstance(truth, kind)]
    if not truths:
        return question.get("truth")
    return Counter(truths).most_common(1)[0][0] if kind is str else median_low(truths)


def on_axis(truth, places):
    """Where on the axis of these places a truth is: a number may be between two, or beyond them.

    >>> on_axis(8, [1, 2, 4, 8]), on_axis(6, [1, 2, 4, 8]), on_axis(9, [1, 2, 4, 8])
    (3, 2.5, 3.5)
    """
    if truth in places or isinstance(places[0], str):
        return places.index(truth) if truth in places else None
    if not places[0] < truth < places[-1]:
        return -0.5 if truth < places[0] else len(places) - 0.5
    return float(np.interp(truth, places, range(len(places))))


def in_folder(folder):
    """The learners whose files are in a folder, by name, and (file, why) of each file left out."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise NotADirectoryError(f"There is no folder {folder}: name the one that has the files.")
    newest, left_out, homes = {}, [], {}
    for file in sorted(folder.rglob("progress*.json")):
        try:
            if not file.is_file():
                continue
            if file.stat().st_size > TOO_LARGE:
                raise record.Damaged(f"is larger than {TOO_LARGE:,} bytes")
            kept, written = record.read(file), file.stat().st_mtime
        except ValueError as error:
            left_out.append((f"{file.relative_to(folder)}", f"{error}"))
        except OSError as error:
            why = f"cannot be read: {error.strerror}"
            left_out.append((f"{file.relative_to(folder)}", why))
        else:
            if home := home_of(file.relative_to(folder)):
                homes[kept["learner"]] = home
            age = last_of(kept), written
            if kept["learner"] not in newest or age > newest[kept["learner"]][0]:
                newest[kept["learner"]] = (age, kept)
    every = [kept for _, kept in newest.values()]
    every = [kept | {"name": kept["name"] or homes.get(kept["learner"], "")} for kept in every]
    names = Counter(kept["name"] for kept in every)
    learners = [learner(kept, names[kept["name"]] == 1) for kept in every]
    return sorted(learners, key=lambda x: x.name.casefold()), left_out


def home_of(file):
    """The learner's folder in which their own progress.json is, or "".

    >>> home_of(Path("emre/my_lessons/progress.json")), home_of(Path("emre/progress-1234abcd.json"))
    ('emre', '')
    """
    homes = [x for x in file.parent.parts if x != "my_lessons"]
    return homes[-1] if homes and file.name == "progress.json" else ""


def without_names(left_out):
    """How many files are left out and why, without what they are called and what is in them.

    >>> without_names([("progress-Ada.json", "is not JSON"), ("progress-Li.json", "is not JSON")])
    ['2 files left out: not JSON']
    """
    why = Counter(why.split(":")[0].split(", ")[0].removeprefix("is ") for _, why in left_out)
    return [f"{count(n, 'file')} left out: {what}" for what, n in why.items()]


def last_of(kept):
    """When a learner last did something that is kept."""
    times = [entry["last"] for entry in kept["exercises"].values()]
    times += [guess["when"] for guess in kept["guesses"].values()]
    return max((record.moment(when).timestamp() for when in times), default=0)


def learner(kept, is_unique):
    """A Learner; who gave no name, or one that another has too, goes by the random characters."""
    tag, name = kept["learner"], " ".join(kept["name"].split())
    is_drawn = figures.can_draw(name)
    said = name if name and is_unique and is_drawn else f"{name} ({tag})" if name else tag
    sign = tag if not (name and is_drawn) else name if is_unique else f"{name[:8]} {tag[:4]}"
    return Learner(said, figures.short(sign), kept["exercises"], kept["guesses"], tag)


def count(n, what):
    """A number of things.

    >>> count(1, "attempt"), count(3, "guess")
    ('1 attempt', '3 guesses')
    """
    return f"{n} {what}" + ("" if n == 1 else "es" if what.endswith("s") else "s")
