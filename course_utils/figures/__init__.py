"""The pictures: pure functions from tensors to a matplotlib Figure, one look for all lessons.

Queries are blue, keys orange, values green; groups take the Okabe-Ito hues in order. Every figure
is a `Card`: white in light and dark theme, drawn at twice the size it is shown at, with alt text.
"""

from course_utils.figures.card import (
    CSS_DPI,
    GROUPS,
    KEY,
    QUERY,
    VALUE,
    WIDGET,
    Card,
    as_shown,
    png,
    stored,
)
from course_utils.figures.charts import score_scale, weighted_average
from course_utils.figures.maps import attention_map, looks
from course_utils.figures.wires import wiring

__all__ = [
    "CSS_DPI",
    "GROUPS",
    "KEY",
    "QUERY",
    "VALUE",
    "WIDGET",
    "Card",
    "as_shown",
    "attention_map",
    "looks",
    "png",
    "score_scale",
    "stored",
    "weighted_average",
    "wiring",
]
