"""What mkdocs adds to the pages of docs/ while it builds the site (`make docs`): a hook, named in mkdocs.yml.

The pages are Markdown that reads as it is on any code host. Added here: README, CONTRIBUTING, CHANGELOG and the
examples as pages of the site, with links that fit it; the order of the navigation, which takes up every page by itself;
and what stands in the place of `<!-- docstring of NAME -->` and `<!-- help of every command -->`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

BESIDE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages that lie outside docs/: file in the repository -> page of the site."""

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Start": ("index.md", "tutorial.md"),
    "How to": ("how-to/model.md", "how-to/server.md", "how-to/ci.md", "how-to/cluster.md", "how-to/fleet.md",
               "how-to/sensor.md",
               "how-to/*", "calibration.md", "bench-and-compare.md", "reports.md", "pytest.md", "prometheus.md",
               "opentelemetry.md", "contributing.md"),
    "Reference": ("definitions.md", "cli.md", "reference/*", "runtimes.md", "sensors.md", "models.md",
                  "research-models.md", "visual-tokens.md", "changelog.md"),
    "Explanation": ("how-it-works.md", "how-sure.md", "accuracy.md", "serving.md", "scale.md", "speed.md",
                    "comparison.md", "decisions/*"),
    "Studies": ("studies/index.md", "studies/*"),
    "Examples": ("examples/*",),
}  # fmt: skip
"""The navigation in order; a page that is not named goes to the end of LAST."""

LAST = "How to"

LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)")
DOCSTRING = re.compile(r"^<!-- docstring of ([\w.]+) -->$", re.MULTILINE)
HELP = "<!-- help of every command -->"


def pages() -> dict[str, Path]:
    """Every page of the site by its name there, and the file in the repository that it is made from."""
    found = {path.relative_to(DOCS).as_posix(): path for path in sorted(DOCS.rglob("*.md"))}
    found |= {page: ROOT / file for file, page in BESIDE.items()}
    return found | {page_of(file): file for file in examples()}


def examples() -> list[Path]:
    """The examples that are shown: scripts, and the main files of folders."""
    folder = ROOT / "examples"
    shown = [path for path in folder.rglob("*") if path.suffix in (".py", ".yml") and "__pycache__" not in path.parts]
    return sorted(shown)


def page_of(file: Path) -> str:
    """The page that shows an example: examples/wall_meter/wattvlm_wall_meter.py.md."""
    return f"{file.relative_to(ROOT).as_posix()}.md"


def navigation(known: Mapping[str, Path]) -> list[dict[str, list[str]]]:
    """The pages in sections; every page is in exactly one."""
    left = sorted(known)
    sections: dict[str, list[str]] = {}
    for title, wanted in SECTIONS.items():
        sections[title] = []
        for each in wanted:
            taken = [page for page in left if page == each or (each.endswith("/*") and page.startswith(each[:-1]))]
            sections[title] += taken
            left = [page for page in left if page not in taken]
    sections[LAST] += left
    return [{title: listed} for title, listed in sections.items()]


def on_config(config: Any) -> Any:
    """The navigation, from the pages that there are."""
    config.nav = navigation(pages())
    return config


def on_files(files: Any, config: Any) -> Any:
    """The pages that lie outside docs/."""
    from mkdocs.structure.files import File

    for page, path in pages().items():
        if not path.is_relative_to(DOCS):
            files.append(File.generated(config, page, content=_content(path)))
    return files


def _content(path: Path) -> str:
    """A page as Markdown: as it is, or an example in a block of code under its name."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    language = {".py": "python", ".yml": "yaml"}[path.suffix]
    return f"# {path.relative_to(ROOT / 'examples').as_posix()}\n\n```{language}\n{text}```\n"


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """A page with links that fit the site, docstrings and the commands' help."""
    shown = fitted(markdown, page.file.src_uri)
    shown = DOCSTRING.sub(r"::: \1", shown)
    return shown.replace(HELP, "\n".join(command_help())) if HELP in shown else shown


def fitted(markdown: str, page: str) -> str:
    """The Markdown of a page whose links to files of the repository lead to pages of the site."""
    source = pages()[page].relative_to(ROOT).as_posix()

    def fit(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found.group(1)))
        return posixpath.relpath(_on_site(target), posixpath.dirname(page) or ".")

    return LINK.sub(fit, markdown)


def _on_site(file: str) -> str:
    """Where a file of the repository is on the site; a folder of examples is its first page."""
    if file.startswith("docs/"):
        return file.removeprefix("docs/")
    if file.startswith("examples/"):
        inside = [page_of(path) for path in examples() if path.relative_to(ROOT).as_posix().startswith(f"{file}/")]
        return inside[0] if inside else f"{file}.md"
    return BESIDE.get(file, f"../{file}")


def command_help() -> Iterator[str]:
    """Each command of the command line with the help that it prints."""
    import click

    from wattvlm.cli import main

    context = click.Context(main, info_name="wattvlm", **main.context_settings)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        if command is not None and not command.hidden:
            own = click.Context(command, info_name=name, parent=context, terminal_width=84, max_content_width=84)
            yield f"## wattvlm {name}\n\n```text\n{command.get_help(own)}\n```\n"
