"""`deblurgan doctor`: whether the package is whole here and works."""

import json
from typing import Any

import click

from deblurgan.cli.common import command, one_line


@command("doctor", "Say what is installed, and whether it works.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with what is wrong under wrong.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Say what is installed, which device computes, where weights are kept, and whether a picture comes out as known.

    Takes about ten seconds, and leaves nothing behind. For a bug report, paste all of it. The exit code is 1 when
    something is wrong, and the last lines say what.
    """
    from deblurgan.doctor import examine

    found: dict[str, Any] = {}
    wrong: list[str] = []
    for section in examine():
        found[section.name] = section.found
        wrong += section.wrong
        if not as_json:
            _show(section.name, section.found)
    if as_json:
        click.echo(json.dumps({**found, "wrong": wrong}, indent=1))
    else:
        click.echo("wrong" if wrong else "Nothing is wrong.")
        for line in wrong:
            click.echo(one_line(f"  {line}"))
    ctx.exit(1 if wrong else 0)


def _show(name: str, found: dict[str, Any]) -> None:
    """Print a section, names beside values."""
    click.echo(name)
    width = max(map(len, found), default=0)
    for key, value in found.items():
        click.echo(one_line(f"  {key:{width}}  {_text(value)}"))
    click.echo()


def _text(value: Any) -> str:
    return ", ".join(f"{value[key]}" for key in value) if isinstance(value, dict) else str(value)
