"""Stands for a library of the application."""


def greeting(whom, version):
    return f"Hello {whom}, from version {version}\n"
