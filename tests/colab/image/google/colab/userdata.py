"""Secrets of a user who has none."""

from google.colab import errors, record


class NotebookAccessError(Exception):
    pass


class SecretNotFoundError(errors.Error):
    pass


def get(key):
    record(f"secret {key}")
    raise SecretNotFoundError(f"Secret {key} does not exist.")
