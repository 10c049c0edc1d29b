"""The page of the command line names every command, and only commands and options that there are."""

from __future__ import annotations

import re

import click
import pytest

from tests.docs.pages import ROOT
from wattvlm.cli import main

PAGE = (ROOT / "docs/cli.md").read_text()
CONTEXT = click.Context(main, info_name="wattvlm")
COMMANDS = main.list_commands(CONTEXT)


def options(name: str) -> set[str]:
    command = main.get_command(CONTEXT, name)
    assert command is not None
    own = {each for parameter in command.params for each in parameter.opts if isinstance(parameter, click.Option)}
    return own | {"--help", "-h"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_in_the_table(name: str) -> None:
    assert f"| `wattvlm {name}` |" in PAGE


def test_every_command_that_the_page_names_is_there() -> None:
    assert set(re.findall(r"wattvlm ([a-z]+(?:-[a-z]+)?)\b", PAGE)) - {"itself"} <= set(COMMANDS)


@pytest.mark.parametrize("name", ["run", "watch"])
def test_every_option_that_a_commands_section_shows_is_one_of_it(name: str) -> None:
    section = PAGE.split(f"## `wattvlm {name}`")[1].split("\n## ")[0]
    shown = {
        word for line in re.findall(r"`(-[^`]+)`|wattvlm " + name + r" ([^\n`]*)", section)
        for word in " ".join(line).split(" -- ")[0].split("#")[0].split() if word.startswith("-")
    }  # fmt: skip
    of_programs = {"--images", "--model", "-m", "--metrics", "--enable-metrics", "--"}
    assert shown - of_programs <= options(name)
    assert len(shown & options(name)) >= 2
