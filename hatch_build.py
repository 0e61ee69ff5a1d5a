"""What goes into the wheel beside the package: the lessons, without their outputs."""

import json
import tempfile
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Lessons(BuildHookInterface):
    def initialize(self, version, build_data):
        if version == "editable":
            return
        self.folder = tempfile.TemporaryDirectory()
        for path in Path(self.root, "notebooks").glob("*.ipynb"):
            notebook = json.loads(path.read_text(encoding="utf-8"))
            for cell in notebook["cells"]:
                if cell["cell_type"] == "code":
                    cell |= {"outputs": [], "execution_count": None}
            text = json.dumps(notebook, ensure_ascii=False, indent=1)
            Path(self.folder.name, path.name).write_text(text + "\n", encoding="utf-8")
        build_data["force_include"][self.folder.name] = "course_utils/notebooks"
