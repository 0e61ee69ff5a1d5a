"""What all pictures share: the colours, the type, and the `Card` a notebook shows."""

import base64
import html
import io
import os

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

QUERY, KEY, VALUE = "#0072B2", "#E69F00", "#009E73"
LATENT = "#6A3D9A"  # what keys and values are made of
KEY_TEXT = "#8A5F00"  # the orange of keys, darker, to be read as text
GROUPS = ["#E69F00", "#56B4E9", "#009E73", "#F0E442", "#661100", "#D55E00", "#CC79A7", "#000000"]
CSS_DPI = 96
WIDGET = "application/vnd.jupyter.widget-view+json"
LOOK = mpl.rc_context(
    {
        "font.size": 12,
        "figure.titlesize": 14,
        "figure.titleweight": "bold",
        "axes.titlesize": 14,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)


def ink(fill):
    """The colour of text that can be read on a box of this colour."""
    return "white" if fill in ("#000000", "#661100", QUERY, LATENT) else "black"


def stored():
    """Whether outputs are being made for the repository: pictures that need nothing alive."""
    return os.environ.get("COURSE_OUTPUTS") == "stored"


def as_shown(data):
    """A widget's MIME bundle; if stored, without the widget itself.

    Stored without its state a widget shows as an error in JupyterLab, and hides what stands beside.
    """
    return {kind: x for kind, x in data.items() if kind != WIDGET or not stored()}


def png(figure):
    """The figure as PNG bytes, two pixels for each CSS pixel it is shown at, in 256 colours."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="rgba", dpi=2 * CSS_DPI, facecolor="white")  # not coded twice
    for text in figure.findobj(Text):
        text._renderer = None  # it would keep all pixels, some 8 MB, as long as the figure lives
    size = [int(inches * 2 * CSS_DPI) for inches in figure.get_size_inches()]
    picture = Image.frombytes("RGBA", size, drawn.getvalue()).convert("RGB")
    picture.quantize(256).save(small, "png")
    return small.getvalue()


class Card(Figure):
    """A Figure that a notebook shows sharp and with its alt text; width and height in inches.

    >>> Card(4, 3, alt="nothing yet").alt
    'nothing yet'
    """

    def __init__(self, width, height, alt):
        super().__init__(figsize=(width, height), layout="constrained", facecolor="white")
        self.alt = alt

    def _repr_mimebundle_(self, **kwargs):
        """JupyterLab reads alt text only from HTML, GitHub shows pictures only as PNG."""
        picture = base64.b64encode(png(self)).decode()
        width, alt = float(self.get_figwidth() * CSS_DPI), html.escape(self.alt)
        if stored():
            data = {"image/png": picture, "text/plain": self.alt}
            return data, {"image/png": {"width": width, "alt": self.alt}}
        tag = f'<img alt="{alt}" width="{width:.0f}" src="data:image/png;base64,{picture}">'
        return {"text/html": tag, "text/plain": self.alt}, {}
