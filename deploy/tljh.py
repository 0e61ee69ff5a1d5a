"""A student's server on The Littlest JupyterHub: /opt/tljh/config/jupyterhub_config.d/course.py."""

c = get_config()  # noqa: F821  # JupyterHub defines it for its config files
c.Spawner.cmd = ["/opt/course/bin/start-course"]
c.Spawner.default_url = "/lab/tree/my_lessons/00_start_here.ipynb"
c.SystemdSpawner.extra_paths = ["/opt/course/bin"]  # so that python is the course's
