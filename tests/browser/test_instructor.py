"""INSTRUCTOR.md printed: A4, 10 pt, margins of 15 mm."""

import re
from pathlib import Path

import mistune
import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "INSTRUCTOR.md").read_text(encoding="utf-8")
LESSONS = re.findall(r"^## \d\d · .*?(?=^## |\Z)", GUIDE, flags=re.M | re.S)
STYLE = """
body { font: 10pt/1.15 Arial, "Liberation Sans", sans-serif; margin: 0 }
h1, h2, h3, p, pre { margin: 0 0 2pt }
h1 { font-size: 15pt }
h2 { font-size: 12pt; margin-top: 5pt }
h3 { font-size: 10.5pt; margin-top: 4pt }
table { border-collapse: collapse; margin-bottom: 2pt; width: 100% }
th, td { border: 0.5pt solid #999; padding: 0 2pt; text-align: left; vertical-align: top }
h2, h3 { break-after: avoid }
tr { break-inside: avoid }
pre, code { font-size: 8pt }
pre { white-space: pre-wrap }
"""


def sheets(browser, text):
    """How many sheets of paper a text takes."""
    draw = mistune.create_markdown(plugins=["table"])
    page = browser.new_page(viewport={"width": 680, "height": 1000})  # what is printed: 180 mm
    page.set_content(f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>{draw(text)}")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 680, "too wide: it would be printed smaller"
    margin = dict.fromkeys(("top", "right", "bottom", "left"), "15mm")
    pdf = page.pdf(format="A4", margin=margin)
    page.close()
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def test_it_takes_thirteen_sheets_at_most(browser):
    assert 1 < sheets(browser, GUIDE) <= 13


@pytest.mark.parametrize("text", LESSONS, ids=lambda text: text[3:5])
def test_a_lesson_takes_one(browser, text):
    assert sheets(browser, text) == 1
