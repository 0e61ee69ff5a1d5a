"""Sphinx's settings for the site; makers.site runs it, over a folder that it has written."""

project = html_title = "One Key, Many Queries"
extensions = ["myst_nb"]
nb_execution_mode = "off"
myst_enable_extensions = []
myst_heading_anchors = 3
html_theme = "furo"
pygments_dark_style = "github-dark"
templates_path = ["templates"]
html_static_path = ["_static"]
html_css_files = ["controls.css", "site.css"]
html_js_files = [("controls.js", {"defer": "defer"})]
html_show_sourcelink = html_copy_source = html_use_index = html_show_search_summary = False
html_show_copyright = False
nb_code_prompt_show = "The code"
nb_code_prompt_hide = "The code"
