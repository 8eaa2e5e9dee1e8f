"""The one exception a user may meet: something given to the project is wrong."""


class InputError(Exception):
    """Bad input, told in one line: what is wrong, where, and what to do.

    Every module raises this, or a subclass of it, for input it cannot use. A
    command prints the line and ends with exit status 2.
    """
