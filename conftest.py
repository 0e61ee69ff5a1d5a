import os

os.environ["COURSE_OUTPUTS"] = "stored"  # lessons are compared with the outputs in the repository
