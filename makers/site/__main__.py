"""The course as a folder of pages that need no kernel and, once they are there, no network.

    python -m makers.site          (make site)     every page, in site/
    python -m makers.site links    (make links)    which links to the outside are dead

Lessons are run, and so are the cells of the other pages, index.md, calculator.md and run.md. Of
what they put out Sphinx makes the pages: MyST-NB reads notebooks, Furo is the theme.
"""

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from html import escape
from pathlib import Path

import nbformat
from myst_nb.core.read import read_myst_markdown_notebook
from nbconvert.preprocessors import ClearOutputPreprocessor
from nbformat.v4 import new_output
from sphinx.cmd.build import build_main

from course_utils import questions
from makers import publish
from makers.alive import drawn, run, run_lesson, states, taken
from makers.lessons import ROOT, draws, is_exercise, lessons

HERE = Path(__file__).parent
NOTEBOOKS = "lessons"  # the folder of the site in which they lie, to be taken
READABLE = 0.66  # of the size of a picture in a notebook: its least on a phone
CLONE = """Take the folder of the course, with git:

```
git clone https://github.com/{}
cd {}
```"""
NO_CLONE = """\
This copy is published nowhere yet, so there is no address to take the course from: ask those who
gave you these pages for its folder, and open a terminal in it."""
COLAB = """\
Every lesson has a button, *Open in Colab*; there, *Runtime → Run all*. Nothing is installed on your
machine."""
NO_COLAB = """\
Download a lesson, by the button under its title. In Colab, *File → Upload notebook*; then, under
*Files*, upload the course as one file, a wheel: `make wheel`, in the course's folder, makes it.
*Runtime → Run all* does the rest."""
LETTERS = "Letters: `figures.alphabet()`"
NO_PYTHON = """\
<p class="no-python">{}: <a href="run.html">run the lesson yourself</a> to {}.</p>"""
ONLY_THERE = {  # what a cell does that a page cannot: what to say of it
    "checks.check(": ("This page runs no Python", "write it and have it checked"),
    "widgets.Explorer(": ("This page runs no Python", "open models by name"),
    "environment.report()": ("That was the machine that made this page", "see yours"),
}


def main(what="html", folder=ROOT / "site"):
    if what == "links":
        stored = {path.stem: nbformat.read(path, as_version=4) for path in lessons()}
        with tempfile.TemporaryDirectory() as report:
            build(stored, Path(report), "linkcheck")
        return
    build({path.stem: run_lesson(path) for path in lessons()}, folder)
    print(f"Open {os.path.relpath(folder / 'index.html')} in a browser.")


def build(notebooks, folder, builder="html"):
    """Make pages, anew, of lessons that were run, {name: notebook}, and of the pages beside them.

    With the builder "linkcheck" Sphinx follows their links instead. Raises SystemExit if there is
    anything that it warns of.
    """
    every = notebooks | {name: run(notebook, ROOT) for name, notebook in besides().items()}
    controls = [state for notebook in every.values() for state in states(notebook).values()]
    with tempfile.TemporaryDirectory() as home:
        source, static = Path(home, "source"), Path(home, "source", "_static")
        static.mkdir(parents=True)
        for name, notebook in every.items():
            nbformat.write(page(notebook, name), source / f"{name}.ipynb")
        (static / "controls.js").write_text(script(controls), encoding="utf-8")
        looks = dict.fromkeys(state.get("_css", "") for state in controls)
        (static / "controls.css").write_text("".join(looks), encoding="utf-8")
        shutil.copy(HERE / "site.css", static)
        shutil.copy(HERE / "conf.py", source)
        shutil.copytree(HERE / "templates", source / "templates")
        made = Path(home, "site")
        options = ["-b", builder, "-d", f"{home}/doctrees", "--quiet", "--fail-on-warning"]
        failed = build_main([*options, str(source), str(made)])
        if builder == "html" and not failed:
            for name in notebooks:
                put(ROOT / "notebooks" / f"{name}.ipynb", made / NOTEBOOKS)
        if builder != "html" or not failed:  # a site that is there stays until there is another
            shutil.rmtree(folder, ignore_errors=True)
            shutil.move(made, folder)
    if failed:
        raise SystemExit(failed)


def besides():
    """The pages that are no lessons, as notebooks: {name: notebook}."""
    _, published = publish.settings()
    repository = published.partition("@")[0]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| \| lesson .*\n(?:\|.*\n)*", readme, flags=re.M)
    words = {
        "LESSONS": table.replace("(notebooks/", "("),
        "CLONE": CLONE.format(repository, repository.rpartition("/")[2]) if published else NO_CLONE,
        "COLAB": COLAB if published else NO_COLAB,
    }
    found = {}
    for path in sorted(HERE.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"<([A-Z]+)>", lambda name: words[name[1]], text)
        found[path.stem] = read_myst_markdown_notebook(text)
    return found


def page(notebook, name):
    """The notebook that Sphinx makes a page of, of one that was run."""
    _, published = publish.settings()
    own = states(notebook)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = drawn(linked(cell.source, published))
            continue
        cell.metadata.setdefault("tags", []).extend(folded(cell))
        cell.outputs = shown(cell, own)
        for call, said in ONLY_THERE.items():
            if call in cell.source:
                cell.outputs.append(words(NO_PYTHON.format(*said)))
    if name[0].isdigit():
        top = notebook.cells[0]
        heading, _, text = top.source.partition("\n")
        top.source = f"{heading}\n\n{buttons(name, published)}\n{text}"
    return notebook


def folded(cell):
    """The tags that fold away code which is there for what it shows, or is the same everywhere."""
    if cell.source.startswith(publish.SET_UP):
        return ["remove-cell"]
    if re.match(r"guess\(|checks\.quiz\(", cell.source):
        return ["remove-input"]
    is_shown = draws(cell) and not is_exercise(cell)
    return ["hide-input"] if is_shown or "environment.set_up()" in cell.source else []


def buttons(name, published):
    """What stands under the title of a lesson: where its code runs."""
    link = '<a class="button" href="{}"{}>{}</a>\n'
    links = link.format(f"{NOTEBOOKS}/{name}.ipynb", " download", "Download the notebook")
    if published:
        links = link.format(publish.colab(published, f"{name}.ipynb"), "", "Open in Colab") + links
    return (
        f'<p class="buttons">\n{links}'
        "<span>The lesson as it ran: sliders, quizzes and hints work. Where it says to run or "
        'change code, <a href="run.html">run it yourself</a>.</span></p>\n'
    )


def linked(source, published):
    """A text whose links lead to other pages, and to the course's files if they are on GitHub."""
    source = source.replace(LETTERS, "[Nine letters](00_start_here.ipynb#nine-letters)")
    repository, _, tag = published.partition("@")
    link = r"\[([^\]]*)\]\(\.\./([^)]*)\)"
    if repository:
        return re.sub(link, rf"[\1](https://github.com/{repository}/blob/{tag}/\2)", source)
    return re.sub(link, r"\1", re.sub(rf" \({link}\)", "", source))  # "(how)" is there for its link


def shown(cell, own):
    """What a page has of what a cell has put out: controls alive, a truth and words folded away."""
    outputs = [alive for output in cell.outputs if (alive := lively(output, own))]
    printed = [output for output in outputs if is_printed(output)]
    text = "".join(output.get("text") or f"{output.data['text/plain']}\n" for output in printed)
    truths = {}
    for question in re.findall(r'^ *truth\("(.*?)"', cell.source, flags=re.M):
        ask = questions.find(question)["ask"]
        if found := re.search(rf"^{re.escape(ask)}: (.*)\.\n", text, flags=re.M):
            truths[ask] = found[1]
            text = text.replace(found[0], "", 1)
    if not truths:
        return outputs
    beside = [text, *[""] * (len(truths) - 1)]  # what was printed goes with the first
    folds = [words(truth(*one, x)) for one, x in zip(truths.items(), beside, strict=True)]
    return folds + [output for output in outputs if not is_printed(output)]


def lively(output, own):
    """An output with its control alive, and with its pictures as small as they may be; or None."""
    name = taken(output)
    if "heard" in own.get(name, {}) or output.get("text") == "":
        return None  # it waits for Python, to say that it has answered; or there is nothing
    if name in own:
        output.data = {"text/html": control(own[name], output.data.get("text/html", ""))}
    elif page := output.get("data", {}).get("text/html"):
        output.data["text/html"] = legible(page)
    return output


def is_printed(output):
    return output.output_type == "stream" or set(output.get("data", ())) == {"text/plain"}


def words(html):
    return new_output("display_data", {"text/html": html})


def truth(ask, it_is, printed=""):
    """The truth of a question, with what was printed beside it, folded; a guess unfolds it."""
    ask, it_is, printed = map(escape, (ask, it_is, printed))
    return (
        f'<details class="truth" data-ask="{ask}"><summary>The answer</summary>'
        f'<p>{ask}: <span class="said"></span>{it_is}.</p>'
        f"{printed and f'<pre>{printed}</pre>'}</details>"
    )


def legible(page):
    """HTML in which every <img> says the least width at which one can read it."""

    def said(image):
        return f'<img style="--least: {READABLE * int(image[1]):.0f}px" '

    return re.sub(r'<img (?=[^>]*width="(\d+)")', said, page)


def control(state, before):
    """The HTML of a control: what is there before the script, and the state that it begins with.

    Before a flipbook that is the picture it shows; the state has the others.
    """
    kept = {name: x for name, x in state.items() if name[0] != "_" and name != "layout"}
    kept["code"] = key(state["_esm"])
    if frames := state.get("frames"):
        i = state["index"]
        before = legible(
            f'<img alt="{escape(state["alts"][i])}" width="{state["width"]:.0f}" '
            f'src="data:image/png;base64,{frames[i]["base64"]}">'
        )
        kept["frames"] = [*frames[:i], None, *frames[i + 1 :]]
    text = json.dumps(kept, ensure_ascii=False).replace("<", r"\u003c")
    return f'<div class="control">{before}</div><script type="application/json">{text}</script>'


def key(code):
    """The name by which a page finds the code of a control."""
    return hashlib.sha256(code.encode()).hexdigest()[:8]


def script(controls):
    """The script of all pages: the code of every kind of control, and what brings it to life."""
    codes = {key(state["_esm"]): state["_esm"] for state in controls}
    below = [(HERE / name).read_text(encoding="utf-8") for name in ("../alive.js", "site.js")]
    return "\n".join([f"const CODES = {json.dumps(codes, ensure_ascii=False)};", *below])


def put(path, folder):
    """Put a lesson, without its outputs, into a folder."""
    folder.mkdir(exist_ok=True)
    notebook = nbformat.read(path, as_version=4)
    bare, _ = ClearOutputPreprocessor().preprocess(notebook, {})
    nbformat.write(bare, folder / path.name)


if __name__ == "__main__":
    main(*sys.argv[1:])
