"""The command as such: it helps, and it tells wrong usage from failure."""

import click
import pytest

from gateway.cli import main
from tests.gateway.cli.cli_kit import gateway, process


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Give the path of every command and group."""
    found = [path]
    for name, command in group.commands.items():
        found += commands(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
    return found


@pytest.mark.parametrize("path", commands(main), ids=" ".join)
def test_every_command_explains_itself_and_each_of_its_options(path: tuple[str, ...]) -> None:
    assert gateway(*path, "--help").exit_code == 0
    command: click.Command = main
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name


def test_the_command_runs_as_a_process() -> None:
    result = process("--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "dead-letters" in result.stdout


def test_wrong_usage_exits_with_2_and_says_what_is_wrong_on_stderr() -> None:
    result = gateway("dead-letters", "lst")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "No such command 'lst'" in result.stderr
