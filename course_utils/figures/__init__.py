"""The pictures: pure functions from tensors to a matplotlib Figure, one look for all lessons.

Queries are blue, keys orange, values green, a latent violet; groups take the Okabe-Ito hues in
order, brown in place of the blue of queries. Every figure is a `Card`: white in light and dark
theme, drawn at twice the size it is shown at, with alt text.
"""

from course_utils.figures.bill import bills, common_beginning, layer_bills, levers
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
from course_utils.figures.charts import (
    appending,
    cache_bars,
    changes,
    model_map,
    outgrowing,
    published,
    score_scale,
    spread,
    weighted_average,
    writing,
)
from course_utils.figures.checkpoint import byte_map, token_rows
from course_utils.figures.dropped import by_distance, fewer_bits
from course_utils.figures.grids import columns, decoding, masks, sees
from course_utils.figures.heads import group_maps, head_grid, likeness
from course_utils.figures.hero import hero
from course_utils.figures.low_rank import kept, low_rank
from course_utils.figures.maps import attention_map, found, lookup
from course_utils.figures.parts import interval
from course_utils.figures.progress import STATES, can_draw, classroom, guesses, rungs, short
from course_utils.figures.roof import ridges, roofline, whole_steps
from course_utils.figures.shapes import alphabet, flow
from course_utils.figures.task import questions
from course_utils.figures.trade_off import (
    frontier,
    latent_frontier,
    learning_curves,
    trained_and_random,
    unbeaten,
    uptraining,
)
from course_utils.figures.wiring import latent_wiring, wiring
