"""The one exception a user of the command may meet: what they gave it cannot be done."""

import click


class BadInput(click.ClickException):
    """Bad input or usage, told in one line; the command prints it and ends with exit status 2."""

    exit_code = 2

    def show(self, file: object = None) -> None:
        click.echo(f"dvc-sweep: {' '.join(self.message.split())}", err=True)
