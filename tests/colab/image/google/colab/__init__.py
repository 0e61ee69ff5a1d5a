"""An imitation of Google Colab's module, as far as lessons and what they use ask for it.

Every request goes, as a line, into the file named by $COLAB_REQUESTS.
"""

import os


def record(request):
    with open(os.environ["COLAB_REQUESTS"], "a", encoding="utf-8") as file:
        print(request, file=file)


from google.colab import errors, output, userdata  # noqa: E402  Colab's kernel has them loaded
