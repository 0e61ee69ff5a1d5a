"""A JupyterHub on loopback, set up as deploy/values.yaml sets up the one of a class.

running.py starts it; what is secret, and where it may write, comes in the environment.
"""

import os
from pathlib import Path

import psutil
import yaml
from jupyterhub.spawner import SimpleLocalProcessSpawner

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ["HUB_FOLDER"])
VALUES = yaml.safe_load((ROOT / "deploy" / "values.yaml").read_text())
SINGLEUSER, HUB = VALUES["singleuser"], VALUES["hub"]["config"]["JupyterHub"]
CHART = {  # what the chart sets of its own
    "concurrent_spawn_limit": 64,
    "consecutive_failure_limit": 5,
    "tornado_settings": {"slow_spawn_timeout": 0},
}


def sandbox(home):
    """What makes a process see its own home, /tmp and processes, and the machine read-only.

    The network is the machine's: the hub must reach the server, and containers would need rights
    that not every machine gives. What a cluster's network policy forbids is not tested here.
    """
    return [
        *("bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
        *("--tmpfs", "/tmp", "--ro-bind", str(ROOT), str(ROOT)),  # where that is below /tmp
        *("--tmpfs", str(FOLDER), "--bind", home, home, "--chdir", home),
        *("--unshare-pid", "--as-pid-1", "--unshare-ipc", "--cap-drop", "ALL", "--"),
    ]


class Sandboxed(SimpleLocalProcessSpawner):
    """Starts a student's server in a sandbox; it outlives the hub, as a container does."""

    async def start(self):
        self.cmd = [*sandbox(self.user_env({})["HOME"]), SINGLEUSER["cmd"]]
        return await super().start()

    async def _signal(self, sig):
        """To the server: bwrap, whose process id the hub keeps, would end and leave it alive."""
        try:
            bwrap = psutil.Process(self.pid)
            for process in bwrap.children() or [bwrap]:
                process.send_signal(sig)
            return bwrap.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


c = get_config()  # noqa: F821, which JupyterHub gives
c.JupyterHub.bind_url = os.environ["HUB_URL"]
c.JupyterHub.hub_bind_url = os.environ["HUB_OWN_URL"]
c.JupyterHub.db_url = f"sqlite:///{FOLDER}/hub/hub.sqlite"
c.JupyterHub.cleanup_servers = False  # servers and proxy outlive the hub, as in a cluster
c.JupyterHub.cleanup_proxy = False
c.JupyterHub.update(CHART | HUB)
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = os.environ["PROXY_URL"]

c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = os.environ["HUB_PASSWORD"]
c.Authenticator.allow_all = True

c.JupyterHub.spawner_class = Sandboxed
c.SimpleLocalProcessSpawner.home_dir_template = f"{FOLDER}/homes/{{username}}"
c.Spawner.args = ["--allow-root"] * (os.geteuid() == 0)
c.Spawner.default_url = SINGLEUSER["defaultUrl"]
c.Spawner.start_timeout = SINGLEUSER["startTimeout"]
c.Spawner.mem_limit = SINGLEUSER["memory"]["limit"]  # told to the server; day.py holds it
c.Spawner.environment = SINGLEUSER.get("extraEnv", {})
