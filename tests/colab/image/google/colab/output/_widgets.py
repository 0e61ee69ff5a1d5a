"""Widgets of third parties: Colab loads their code if the message that shows one says from where.

As in Colab, a hook adds that to what is displayed, but not to the value of a cell's last line.
"""

from google.colab import record
from IPython import get_ipython

WIDGET = "application/vnd.jupyter.widget-view+json"
_installed_url = None


def enable_custom_widget_manager(version=""):
    global _installed_url
    record("custom widget manager")
    if not _installed_url:
        get_ipython().display_pub.register_hook(_say_where)
    _installed_url = "https://example.invalid/manager.min.js"


def _say_where(message):
    content = message["content"]
    if WIDGET in content.get("data", {}):
        where = {"custom_widget_manager": {"url": _installed_url}}
        content.setdefault("metadata", {}).setdefault(WIDGET, {})["colab"] = where
    return message
