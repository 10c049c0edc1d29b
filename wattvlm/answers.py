"""What a study answers: its design, tables, one picture, findings with their verdicts, and limits. All nouns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wattvlm.comparison import Expected

Claim = Literal["holds", "does not hold", "cannot tell", ""]
"""Of a statement that a study puts to the test, by the interval; "" where none is."""

Value = str | float | Expected | None
"""What stands in a table: words, a count, a number with its interval, or nothing known."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A column of a table: its title, and the unit of its numbers ("J", "s", "%" or "")."""

    title: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class AnswerTable:
    """A table of a study: rows of a name and as many values as there are headings. The name's own heading is `of`.

    "J" and "s" columns hold joules and seconds, "%" ones fractions; a renderer chooses the scale.
    """

    title: str
    of: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True, slots=True)
class Series:
    """One line or one colour of bars in a picture: points (x, value), and the line that was fitted through them."""

    name: str
    points: tuple[tuple[float, Expected], ...]
    fitted: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """The picture of a study. x, y: labels of the axes with their units.

    names: of the places 0, 1, 2 ... where the axis has names in place of numbers; stacked: series lie on each other.
    """

    title: str
    x: str
    y: str
    series: tuple[Series, ...]
    names: tuple[str, ...] = ()
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer in words, and the number behind it.

    what: that was asked. found: the number with its interval, None where it cannot be told. unit: "J", "s", "%" (a
    fraction) or "". verdict: of the statement in `claim`. published: what the literature has beside it, and where.
    is_modelled: the number is made of modelled joules, so that no verdict is given.
    """

    what: str
    words: str
    found: Expected | None = None
    unit: str = ""
    claim: str = ""
    verdict: Claim = ""
    published: str = ""
    is_modelled: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a study found.

    study: its name. question: in one sentence. design: what was measured and how, line by line, with what is held
    equal and the least effect that it can see. limits: what the answer does not say.
    """

    study: str
    question: str
    design: tuple[str, ...]
    findings: tuple[Finding, ...]
    tables: tuple[AnswerTable, ...] = ()
    pictures: tuple[Picture, ...] = ()
    limits: tuple[str, ...] = ()
    is_modelled: bool = False
    virtual: bool = False

    def finding(self, what: str) -> Finding:
        """The finding of one thing that was asked; KeyError names those there are."""
        for each in self.findings:
            if each.what == what:
                return each
        raise KeyError(f"no finding {what!r}; there are {[each.what for each in self.findings]}")
