import os

from nbval.plugin import IPyNbCell
from near import is_reference, widen
from xdist.scheduler import LoadScopeScheduling

os.environ["COURSE_OUTPUTS"] = "stored"  # lessons are compared with the outputs in the repository
os.environ["COURSE_PROGRESS"] = "off"  # and nobody's own file is touched
if not is_reference():
    widen(IPyNbCell)


class ByLesson(LoadScopeScheduling):
    """One process takes a whole file, a notebook too; but a test_lessons.py one test at a time."""

    def _split_scope(self, nodeid):
        return nodeid if "test_lessons.py" in nodeid else nodeid.split("::")[0]


def pytest_xdist_make_scheduler(config, log):
    return ByLesson(config, log)


def pytest_terminal_summary(terminalreporter):
    """What tests counted, also where another process ran them."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")
