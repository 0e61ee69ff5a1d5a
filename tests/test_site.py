"""The pages of the site, before a browser has them: nothing is lost, nothing comes from elsewhere."""

import json
import re
import threading
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import nbformat
import pytest
from bs4 import BeautifulSoup
from lessons import PATHS, code, read
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_utils import questions
from course_utils.figures import WIDGET
from makers import alive, publish
from makers.site import __main__ as site

HOSTILE = '</script><!--<script>"&'


def a_page(*cells, name="01_a_lesson", state=None):
    """The notebook of a page: a title, and these cells."""
    notebook = new_notebook(cells=[new_markdown_cell("# 01 · A lesson\n\nText."), *cells])
    if state:
        notebook.metadata.widgets = {alive.STATE: {"state": {"m": state}}}
    return site.page(notebook, name)


def shows(state, **data):
    """A cell that has put out a control of this state."""
    view = {WIDGET: {"model_id": "m"}, "text/plain": "", **data}
    return a_page(new_code_cell("x", outputs=[new_output("display_data", view)]), state=state)


def html(cell):
    return [output.data["text/html"] for output in cell.outputs if "data" in output]


def begins(page):
    """What the page of a control has: what is there before the script, and its state."""
    (shown,) = html(page.cells[1])
    before, text = re.fullmatch(
        r'<div class="control">(.*)</div><script type="application/json">(.*)</script>', shown
    ).groups()
    return before, json.loads(text)


def test_a_control_stands_in_its_page_with_its_words_and_its_state():
    state = {"_esm": "code", "_css": "look", "label": HOSTILE, "index": 1, "texts": ["1", "2"]}
    before, kept = begins(shows({"state": state}, **{"text/html": "<p>words</p>"}))
    assert before == "<p>words</p>"
    assert kept == {"label": HOSTILE, "index": 1, "texts": ["1", "2"], "code": site.key("code")}


def test_of_a_flipbook_the_picture_it_shows_is_there_before_the_script():
    state = {
        "_esm": "code", "label": "g", "index": 1, "texts": ["1", "2", "4"], "width": 960.0,
        "alts": ["a", HOSTILE, "c"], "frames": [None] * 3,
    }  # fmt: skip
    buffers = [{"path": ["frames", i], "data": data} for i, data in enumerate(("QQ", "Qg", "Qw"))]
    before, kept = begins(shows({"state": state, "buffers": buffers}, **{"image/png": "Qg"}))
    image = BeautifulSoup(before, "html.parser").img
    assert (image["alt"], image["width"]) == (HOSTILE, "960")
    assert image["src"] == "data:image/png;base64,Qg"
    assert kept["frames"] == [{"base64": "QQ"}, None, {"base64": "Qw"}]


def test_jupyters_own_controls_leave_their_words():
    page = shows({"state": {"_view_name": "HBoxView"}}, **{"text/html": "<p>words</p>"})
    assert html(page.cells[1]) == ["<p>words</p>"]


def test_the_script_has_the_code_of_every_control_once():
    script = site.script([{"_esm": "one"}, {"_esm": HOSTILE}, {"_esm": "one"}])
    first = script.splitlines()[0]
    codes = json.loads(first.removeprefix("const CODES = ").removesuffix(";"))
    assert codes == {site.key("one"): "one", site.key(HOSTILE): HOSTILE}


def test_a_truth_is_folded_away_with_what_was_printed_beside_it():
    ask = questions.find("06.maps")["ask"]
    outputs = [
        new_output("stream", text=f"before\n{ask}: 8.\n"),
        new_output("execute_result", {"text/plain": "after"}),
    ]
    cell = a_page(new_code_cell('x = 8\ntruth("06.maps", x)', outputs=outputs)).cells[1]
    (shown,) = html(cell)
    answer = BeautifulSoup(shown, "html.parser").details
    assert answer["data-ask"] == ask and answer.p.text == f"{ask}: 8."
    assert answer.pre.text == "before\nafter\n"
    two = new_output("stream", text=f"{ask}: 8.\n{questions.find('06.reads')['ask']}: 1.\nx\n")
    cell = a_page(new_code_cell('truth("06.maps", 8)\ntruth("06.reads", 1)', outputs=[two])).cells[
        1
    ]
    answers = [BeautifulSoup(shown, "html.parser") for shown in html(cell)]
    assert [len(answer.select("pre")) for answer in answers] == [1, 0]
    alone = new_output("stream", text=f"{ask}: 8.\n")
    cell = a_page(new_code_cell('truth("06.maps", 8)', outputs=[alone])).cells[1]
    assert "<pre>" not in html(cell)[0]


@pytest.mark.parametrize(
    "source, tags, output, expected",
    [
        (publish.set_up_cell("0.1.0", ""), [], "", ["remove-cell"]),
        ("import torch\nenvironment.set_up()", [], "", ["hide-input"]),
        ('guess("06.maps")', [], "", ["remove-input"]),
        ('checks.quiz("06")', [], "", ["remove-input"]),
        ("widgets.Slider('g', [1])", [], "", ["hide-input"]),
        ("figures.wiring(8, 2)", [], '<img alt="a" width="768" src="data:,">', ["hide-input"]),
        ("print(1)", [], "", []),
        ("widgets.Slider", ["exercise:06.maps"], "", ["exercise:06.maps"]),
    ],
)
def test_code_is_folded_away_where_it_is_there_for_what_it_shows(source, tags, output, expected):
    outputs = [new_output("display_data", {"text/html": output})] if output else []
    cell = new_code_cell(source, outputs=outputs, metadata={"tags": tags})
    assert a_page(cell).cells[1].metadata.tags == expected


def test_what_only_python_does_says_how_to_run_it():
    sources = ['checks.check("06.maps", f)', "widgets.Explorer()", "environment.report()", "1"]
    page = a_page(*map(new_code_cell, sources))
    says = ['href="run.html"' in "".join(html(cell)) for cell in page.cells[1:]]
    assert says == [True, True, True, False]


def test_what_waits_for_python_is_not_there():
    assert shows({"state": {"_esm": "code", "heard": False}}).cells[1].outputs == []


def test_a_picture_says_how_small_it_may_be():
    output = new_output("display_data", {"text/html": '<img alt="a" width="1000" src="data:,">'})
    (shown,) = html(a_page(new_code_cell("1", outputs=[output])).cells[1])
    assert shown == '<img style="--least: 660px" alt="a" width="1000" src="data:,">'


LINKS = "x ([how](../data/README.md)), [a](../data/README.md), [b](02_causal_attention.ipynb#x), [c](https://arxiv.org/abs/1)"


@pytest.mark.parametrize("published", ["", "owner/name@v0.1.0"])
def test_buttons_and_links_lead_where_the_course_is_published(monkeypatch, published):
    monkeypatch.setattr(publish, "settings", lambda: ("0.1.0", published))
    notebook = new_notebook(cells=[new_markdown_cell(f"# 01 · A lesson\n\n{LINKS}")])
    text = site.page(notebook, "01_a_lesson").cells[0].source
    assert re.match('# 01.·.A lesson\n\n<p class="buttons">', text) and "<img" not in text
    assert (
        ">Download the notebook</a>" in text and 'href="lessons/01_a_lesson.ipynb" download' in text
    )
    colab = "https://colab.research.google.com/github/owner/name/blob/v0.1.0/notebooks/01_a_lesson"
    assert (f'href="{colab}.ipynb">Open in Colab</a>' in text) == bool(published)
    blob = "https://github.com/owner/name/blob/v0.1.0"
    there = (
        LINKS.replace("..", blob) if published else LINKS.replace(" ([how](../data/README.md))", "")
    )
    assert text.endswith(there.replace("[a](../data/README.md)", "a"))


def test_a_lesson_that_was_run_for_a_page_has_no_badges(tmp_path):
    """They are pictures from elsewhere, on slides too."""
    badges = publish.badges("owner/name@v0.1.0", "01_a_lesson.ipynb")
    cells = [new_markdown_cell(f"# 01 · A lesson{badges}\n\nText."), new_code_cell("print(1)")]
    ran = alive.run(new_notebook(cells=cells), tmp_path)
    assert ran.cells[0].source == "# 01 · A lesson\n\nText." and ran.cells[1].outputs


@pytest.mark.parametrize("published", ["", "owner/name@v0.1.0"])
def test_the_other_pages_have_all_their_words(monkeypatch, published):
    monkeypatch.setattr(publish, "settings", lambda: ("0.1.0", published))
    pages = site.besides()
    texts = {name: "\n".join(c.source for c in page.cells) for name, page in pages.items()}
    assert set(texts) == {"index", "calculator", "run"}
    assert not re.findall(r"<[A-Z]+>", "".join(texts.values()))
    for path in PATHS:
        assert re.search(
            rf"^\| {path.stem[:2]} \| \[.*\]\({path.name}\) \| .*\?", texts["index"], flags=re.M
        )
    assert ("git clone https://github.com/owner/name" in texts["run"]) == bool(published)
    assert ("published nowhere" in texts["run"]) != bool(published)
    assert ("*Open in Colab*" in texts["run"]) == bool(published)


class Answers(BaseHTTPRequestHandler):
    """What is there, and what is not."""

    def do_GET(self):
        self.send_response(404 if self.path == "/gone" else 200)
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *arguments):
        """Nothing."""


def test_a_link_to_the_outside_that_is_dead_is_named(tmp_path, capfd, monkeypatch):
    home = new_markdown_cell("# Home\n\n```{toctree}\n01_a_lesson\n```")
    monkeypatch.setattr(site, "besides", lambda: {"index": new_notebook(cells=[home])})
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        there, gone = (f"http://127.0.0.1:{server.server_port}/{x}" for x in ("there", "gone"))
        for links, dead in (([there], False), ([there, gone], True)):
            text = "# 01 · A lesson\n\n" + ", ".join(f"[link]({link})" for link in links)
            lessons = {"01_a_lesson": new_notebook(cells=[new_markdown_cell(text)])}
            with pytest.raises(SystemExit) if dead else nullcontext():
                site.build(lessons, tmp_path / "links", "linkcheck")
        server.shutdown()
    report = (tmp_path / "links" / "output.txt").read_text(encoding="utf-8")
    assert "broken" in report and gone in report and there not in report
    assert gone in "".join(capfd.readouterr())  # also where only the terminal is seen


def test_a_lesson_to_take_away_is_the_lesson_without_its_outputs(tmp_path):
    for path in PATHS[:2]:
        site.put(path, tmp_path / "lessons")
        there, here = read(tmp_path / "lessons" / path.name), read(path)
        assert [c.source for c in there.cells] == [c.source for c in here.cells]
        assert not any(cell.outputs or cell.execution_count for cell in code(there))
        nbformat.validate(there)
