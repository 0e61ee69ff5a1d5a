"""Real checkpoints, from a folder or the Hub: read only the bytes that are needed.

layers says which tensors a model, or one layer of it, needs, and makes it; reader asks format which
bytes those are, and reads them from folders, or through ranges, which keeps on the disk what hub
brings; conversion gives a folder fewer K/V heads. names knows what people call a model, connection
what may stand between them and the Hub.
"""

from course_utils.checkpoints.conversion import convert_checkpoint
from course_utils.checkpoints.format import byte_range
from course_utils.checkpoints.layers import inputs, keys_values, load, needed, save
from course_utils.checkpoints.reader import Checkpoint, open_checkpoint
