"""The one exception a user of the checks may meet: what they were given cannot be judged."""

import click

from dvc_checks.output import printable


class BadInput(click.ClickException):
    """Bad input or usage, told in one line; the command prints it and ends with exit status 2."""

    exit_code = 2

    def show(self, file: object = None) -> None:
        click.echo(printable(f"dvc-checks: {' '.join(self.message.split())}"), err=True)
