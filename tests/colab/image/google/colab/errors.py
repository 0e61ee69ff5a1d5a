"""The base of Colab's own errors."""


class Error(Exception):
    pass
