"""What building the site does besides: it makes the pages of the command line and of files that the root has.

It also sees to it that no page loads anything from elsewhere.
"""

import re
from pathlib import Path
from typing import Any

import click
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from deblurgan import cli

ROOT = Path(__file__).parents[1]
FROM_THE_ROOT = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "SECURITY.md": "security.md"}
FROM_ELSEWHERE = re.compile(
    r"<(?:script|img|iframe|video|source|link rel=\"?(?:stylesheet|icon))\b[^>]*=\"?https?:[^>]*>"
)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    pages = {page: (ROOT / name).read_text("utf-8") for name, page in FROM_THE_ROOT.items()}
    pages["command-line.md"] = command_line()
    for name, text in pages.items():
        for root, page in FROM_THE_ROOT.items():
            text = text.replace(f"]({root}", f"]({page}")
        files.append(File.generated(config, name, content=text.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Have links to files of the root lead to their pages."""
    for name, page in FROM_THE_ROOT.items():
        markdown = markdown.replace(f"](../{name}", f"]({page}")
    return markdown


def on_post_page(output: str, page: Any, **_: Any) -> None:
    """Fail where a page needs the network."""
    if found := FROM_ELSEWHERE.search(output):
        raise PluginError(f"{page.file.src_uri}: expected nothing that is loaded from elsewhere, found {found[0]}")


def command_line() -> str:
    """What `--help` says, of all commands."""
    top = click.Context(cli.main, info_name="deblurgan", **cli.main.context_settings)
    parts = [
        "# Command line\n\n`deblurgan COMMAND --help` says the same. Dashes and underscores in options are alike: "
        "`--n_images`, `--n-images`.\n",
        "| command | what it does |\n| --- | --- |",
    ]
    commands = {name: cli.main.commands[name] for name in cli.main.list_commands(top)}
    for name, command in commands.items():
        parts.append(f"| [`{name}`](#{name}) | {_escaped(command.get_short_help_str(limit=150))} |")
    parts.append("")
    for name, command in commands.items():
        parts += _described(command, name, top, level=2)
    return "\n".join(parts)


def _described(command: click.Command, name: str, parent: click.Context, level: int) -> list[str]:
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts = [f"{'#' * level} {context.command_path.removeprefix('deblurgan ')}\n", f"```\n{usage}\n```\n"]
    parts += [_escaped(f"{paragraph}\n") for paragraph in (command.help or "").split("\n\n")]
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record and "--help" not in record[0]:
            names, text = record
            parts.append(f"`{names}`\n:   {_escaped(text)}\n")
    for below, inner in getattr(command, "commands", {}).items():
        parts += _described(inner, below, context, level + 1)
    return parts


def _escaped(text: str) -> str:
    """`text` with what Markdown would take for its own kept, but for code in backticks."""
    pieces = re.split(r"(`[^`]*`)", " ".join(text.split()) + ("\n" if text.endswith("\n") else ""))
    return "".join(piece if piece.startswith("`") else re.sub(r"([*_<\[\]])", r"\\\1", piece) for piece in pieces)
