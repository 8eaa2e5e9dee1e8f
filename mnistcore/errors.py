"""The one exception a user may meet: something given to the project is wrong."""


class InputError(Exception):
    """Bad input, told in one line: what is wrong, where, and what to do.

    Every module raises this, or a subclass of it, for input it cannot use. A
    command prints the line and ends with exit status 2.
    """

    def __str__(self) -> str:
        """The line, with a question mark for what is no part of one, such as a line end in the name of a file."""
        return "".join(letter if letter.isprintable() else "?" for letter in super().__str__())
