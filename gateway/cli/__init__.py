"""The `gateway` command. Errors go to stderr: exit code 2 for wrong usage, 1 for what failed."""

import click

from gateway.cli import conversations, dead_letters, serving, trying


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="chat-migration-gateway")
def main() -> None:
    """Carry V1 clients onto the stateful API: they change one base URL and nothing else."""


for command in (
    serving.serve,
    serving.relay,
    serving.check_config,
    trying.demo_command,
    trying.sandbox_command,
    trying.explain_command,
    conversations.group,
    dead_letters.group,
):
    main.add_command(command)
