"""Sliders and a picture that the browser works out of them, whatever the kernel is doing."""

from decimal import ROUND_HALF_UP, Context

import anywidget
import traitlets

from course_utils.figures import as_shown
from course_utils.widgets.slider import one_of, source, table


class Formula(anywidget.AnyWidget):
    """Sliders for a dict `chosen`, {name: value}, and the picture of what follows from it.

    One dict, so that sliders which move each other always travel together: a kernel that lags can
    pull none of them back. `choices` {name: (label, {value: what the slider says})}; `facts` is
    what the formula needs beside them. A subclass has the formula twice, in `_esm` for the picture
    and in Python for readers without it, whose words are the same.
    """

    _css = source("slider.css", "formula.css")
    controls = traitlets.Dict().tag(sync=True)
    chosen = traitlets.Dict().tag(sync=True)
    facts = traitlets.Dict().tag(sync=True)
    _ipython_display_ = None  # ipywidgets 7 would show the widget without its words

    def __init__(self, choices, facts, start):
        controls = {
            name: {"label": label, "values": list(texts), "texts": list(texts.values())}
            for name, (label, texts) in choices.items()
        }
        chosen = {name: control["values"][0] for name, control in controls.items()}
        super().__init__(controls=controls, facts=facts, chosen=chosen)
        self.choose(**start)

    def choose(self, **values):
        """Move these sliders, one after the other, as a reader would.

        Raises TraitError if a slider does not have a value.
        """
        for name, value in values.items():
            one_of(self.controls[name]["values"], value)
            self.chosen = self.coupled({**self.chosen, name: value}, name)

    def coupled(self, chosen, moved):
        """What is chosen after this slider was moved; others may move with it."""
        return chosen

    def _repr_mimebundle_(self, **kwargs):
        """The widget; for readers without one what is chosen, its words and a table."""
        data, metadata = super()._repr_mimebundle_(**kwargs)
        places = (
            f"{control['label']}: {control['texts'][control['values'].index(self.chosen[name])]}"
            for name, control in self.controls.items()
        )
        text = f"{', '.join(places)}. {self.words()}"
        page = f'<div style="font-size: 15px">{text}{table(*self.table())}</div>'
        return as_shown(data | {"text/html": page, "text/plain": text}), metadata


def number(x, digits=3):
    """A number in three digits, as the browser writes and rounds it.

    >>> number(12.3456), number(2598.4), number(0.0000671), number(5.65, digits=2)
    ('12.3', '2,600', '0.0000671', '5.7')
    """
    rounding = Context(prec=digits, rounding=ROUND_HALF_UP)
    return f"{rounding.create_decimal(str(x)).normalize():,f}"
