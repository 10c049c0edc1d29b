"""The command line: one module a command, found by itself and imported only when it is used.

A command's name is its module's name, with dashes, and its help is its function's docstring.
Exit codes: 0 fine, 1 regression, 2 usage, 3 could not measure.
"""

from __future__ import annotations

import importlib
import pkgutil

import click

REGRESSION = 1
COULD_NOT_MEASURE = 3


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(
            entry.name.replace("_", "-") for entry in pkgutil.iter_modules(__path__) if not entry.name.startswith("_")
        )

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wattvlm", message="%(prog)s %(version)s")
def main() -> None:
    """Joules for any vision-language model call: by phase, domain and token, with intervals that hold."""
