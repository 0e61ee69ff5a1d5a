"""What a config.json tells of a model's sizes and of what its layers keep.

names brings a file into one form, kinds tells its layers apart, keeps counts what each one keeps,
reading puts it together; what the classes of transformers take for granted is in
data/families.json. `geometry.from_config` is the way in.
"""

from course_utils.configs.names import UNSHARED, count, rope_settings
from course_utils.configs.reading import one_g, sizes
