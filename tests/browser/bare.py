"""A widget that works by itself, on a page with nothing else: no kernel, no notebook."""

PAGE = """<!doctype html><html lang="en"><meta name="viewport" content="width=device-width">
<title>a widget</title><style>body {{ margin: 8px; font: 14px/1.4 'DejaVu Sans', Verdana, sans-serif; {colors} }}</style>
<style>{css}</style><main id="widget"></main></html>"""
DARK = "background: #111; color: #eee"
SHOW = """async ([code, state]) => {  // the widget over a model that is a dict, as on a static page
    const heard = new Set();
    window.model = {
        get: name => state[name],
        set(name, value) { state[name] = value; heard.forEach(follow => follow()); },
        save_changes() {},
        on: (_, follow) => heard.add(follow),
        off: (_, follow) => heard.delete(follow),
    };
    const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    const { default: { render } } = await import(url);
    window.end = await render({ model, el: document.querySelector("#widget") });
}"""

DRAWN = """width => {  // the page has its width by now, and the picture what is left of it
    const stage = document.querySelector("#widget[data-ready='true'] .formula-stage");
    return document.body.clientWidth === width - 16
        && stage !== null && stage.firstChild.clientWidth === stage.clientWidth;
}"""

NEXT_FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def show(page, widget, width=1000, colors=""):
    """The widget on an empty page of this width; returns when its picture is there, as wide."""
    page.set_viewport_size({"width": width, "height": 760})
    page.set_content(PAGE.format(css=widget._css, colors=colors))
    state = {name: getattr(widget, name) for name in ("controls", "chosen", "facts")}
    page.evaluate(SHOW, [widget._esm, state])
    page.wait_for_function(DRAWN, arg=width)
    page.evaluate(NEXT_FRAMES)  # a change of size that is on its way draws once more
