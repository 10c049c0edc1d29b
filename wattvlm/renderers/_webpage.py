"""The shell of our HTML pages: whole in themselves, with Bokeh's script inside, and with every name as escaped text."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from importlib import import_module, util
from pathlib import Path
from typing import Any

from wattvlm.errors import WattvlmError

_HERE = Path(__file__).parent
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
_ID = re.compile(r'"p\d+"')


def webpage(title: str, sections: Sequence[str], plots: Sequence[Any], without_scripts: str) -> str:
    """A page of sections whose plots are drawn into the elements they name. skips to the element `summary`.

    without_scripts: what a reader without scripts misses. WattvlmError names the cure where Bokeh is not installed.
    """
    require_bokeh()
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_part('_page.css')}</style></head><body>"
        f'<a class="skip" href="#summary">Skip the pictures</a><main><h1>{escape(title)}</h1>'
        f"<noscript><p>{without_scripts}</p></noscript>{''.join(sections)}</main>"
        f'<script type="application/json" id="plots">{embedded(list(plots))}</script>'
        f"<script>{_bokeh()}</script><script>{_part('_page.js')}</script></body></html>\n"
    )


def plain_webpage(title: str, sections: Sequence[str]) -> str:
    """A page of sections without a script; skips to the element `summary`."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_part('_page.css')}</style></head><body>"
        f'<a class="skip" href="#summary">Skip to the summary</a><main><h1>{escape(title)}</h1>'
        f"{''.join(sections)}</main></body></html>\n"
    )


def require_bokeh() -> None:
    """WattvlmError where Bokeh is not installed."""
    if util.find_spec("bokeh") is None:
        raise WattvlmError(
            "the HTML report is drawn by Bokeh, which is not installed. Cure: pip install 'wattvlm[html]'"
        )


def section(name: str, title: str, content: str) -> str:
    """A section with a title that names it for screen readers too."""
    return f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>{content}</section>'


def plotted(figure: Any, target: str) -> Any:
    """A figure as what Bokeh's script embeds; its ids are counted anew, so that a report is always the same page."""
    embed: Any = import_module("bokeh.embed")
    text = json.dumps(embed.json_item(figure, target))
    known = {name: f'"p{index}"' for index, name in enumerate(dict.fromkeys(_ID.findall(text)))}
    item = json.loads(_ID.sub(lambda found: known[found.group()], text))
    item["doc"] = {**item["doc"], "title": "wattvlm"}
    return item


def embedded(plain: object) -> str:
    """JSON that holds no markup: < > and & are written as escapes."""
    text = json.dumps(plain, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _part(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _bokeh() -> str:
    """The core of the installed Bokeh as text that cannot end the script element it stands in."""
    resources: Any = import_module("bokeh.resources")
    scripts: list[str] = resources.Resources(mode="inline", components=["bokeh"], log_level="error").js_raw
    return "\n".join(scripts).replace("</script", "<\\/script")
