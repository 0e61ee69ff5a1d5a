"""What `check` shows: a card for the notebook, in plain HTML."""

import html

COLOURS = {"Passed": "#009E73", "Not yet": "#D55E00", "Not started": "#767676"}


def card(name, verdict, message, picture, hints, source):
    """The HTML of a result; hints open one inside the other, the solution last."""
    title = "Compare with the solution" if verdict == "Passed" else "Solution"
    fold = details(title, f"<pre>{html.escape(source)}</pre>")
    if verdict != "Passed":
        for i, hint in reversed(list(enumerate(hints, start=1))):
            fold = details(f"Hint {i} of {len(hints)}", paragraphs(hint) + fold)
    return (
        f'<div style="border-left: 6px solid {COLOURS[verdict]}; padding: 4px 14px; '
        f'font-size: 15px"><p><b>{verdict}</b> · <code>{name}</code></p>'
        f"{paragraphs(message)}{picture}{fold}</div>"
    )


def paragraphs(text):
    """HTML of a text: its first line as prose, the others as they stand."""
    said, _, shown = map(html.escape, text.partition("\n"))
    return f"<p>{said}</p>" + (f"<pre>{shown}</pre>" if shown else "")


def details(summary, body):
    """HTML that unfolds body on a click or the Enter key, without a script."""
    return f'<details><summary style="cursor: pointer">{summary}</summary>{body}</details>'
