"""The pages of the documentation as the tests read them: their blocks of code, links and headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
}
"""Every page, by its path in the repository."""

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+)(?P<language>[\w-]*)[^\n`]*\n(?P<code>.*?)^(?P=indent)(?P=fence)$",
                   re.MULTILINE | re.DOTALL)  # fmt: skip
NOT_RUN = re.compile(r"\*Not run by the tests: (?P<reason>[^*]+)\*\s*\Z")
COMMANDS = ("wattvlm ", "python -m ")
SHELLS = ("", "sh", "bash", "shell", "console")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, the line it begins on, and why the tests do not run it ("" if they do).

    A block is runnable where it is Python, or has a line that begins with `wattvlm` or `python -m`.
    """

    language: str
    code: str
    line: int
    not_run: str

    @property
    def commands(self) -> list[str]:
        """The lines that the tests run of a block of commands, those that end in a backslash joined with the next."""
        if self.language not in SHELLS:
            return []
        lines = [line.strip().removeprefix("$ ") for line in self.code.replace("\\\n", " ").splitlines()]
        return [line.partition("  #")[0].strip() for line in lines if line.startswith(COMMANDS)]

    @property
    def is_runnable(self) -> bool:
        return self.language == "python" or bool(self.commands)


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page. One is not run where the paragraph before says `*Not run by the tests: reason*`."""
    for found in FENCE.finditer(text):
        before = NOT_RUN.search(text[: found.start()])
        reason = " ".join(before["reason"].split()) if before else ""
        indent = found["indent"]
        code = "".join(line.removeprefix(indent) for line in found["code"].splitlines(keepends=True))
        yield Block(found["language"], code, text.count("\n", 0, found.start()) + 1, reason)


def prose(text: str) -> str:
    """A page without its blocks of code and its code in lines, where links are no links."""
    return re.sub(r"`[^`\n]+`", "", FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """What `#...` may say on a page: its headings in small letters, spaces as dashes."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[\s]+", "-", heading) for heading in plain}
