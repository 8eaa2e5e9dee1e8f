"""The one exception a user may meet: something given to the project is wrong."""

LONGEST = 2000  # characters of a line; the longest that is meant names four files and what each source said


class InputError(Exception):
    """Bad input, told in one line: what is wrong, where, and what to do.

    Every module raises this, or a subclass of it, for input it cannot use. A
    command prints the line and ends with exit status 2.
    """

    def __str__(self) -> str:
        """The line, with a question mark for what is no part of one, such as a line end in the name of a file.

        Of a longer one than a person reads, such as one with a key of thousands of characters in it, the middle is out.
        """
        line = "".join(letter if letter.isprintable() else "?" for letter in super().__str__())
        return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} … {line[3 - LONGEST // 2 :]}"
