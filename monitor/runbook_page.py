"""The page of the runbook, to which every alert and every message about one leads."""

from __future__ import annotations

from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any, cast

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Template
from markdown_it import MarkdownIt

from monitor import runbook
from monitor.page import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.renderer import RendererHTML
    from markdown_it.token import Token

    from monitor.installation import Installation


def handlers(installation: Installation) -> list[HTTPRouteHandler]:
    """Return the handler of the page."""

    @get("/runbook", sync_to_thread=False, include_in_schema=False)
    def page() -> Template:
        return shown(installation, "runbook.html", text=rendered())

    return cast(list[HTTPRouteHandler], [page])


@cache
def rendered() -> str:
    """Return the runbook as HTML: its headings are anchors, and links to pages that are not served here are words."""
    written = runbook.text()
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.add_render_rule("table_open", lambda *_: '<div class="wide" tabindex="0"><table>\n')
    markdown.add_render_rule("table_close", lambda *_: "</table></div>\n")
    markdown.add_render_rule("fence", _fence)
    tokens = markdown.parse(written)
    names = iter(anchor for _, anchor in runbook.anchors(written))
    for token in tokens:
        if token.type == "heading_open":
            token.attrs["id"] = next(names)
        if token.children:
            token.children = _links_within(token.children)
    return cast(str, markdown.renderer.render(tokens, markdown.options, {}))


def _fence(renderer: RendererHTML, tokens: Sequence[Token], place: int, *_: Any) -> str:  # noqa: ARG001  # all are handed in
    return f'<pre class="card wide" tabindex="0"><code>{escape(tokens[place].content)}</code></pre>\n'


def _links_within(tokens: list[Token]) -> list[Token]:
    """Return the parts of a line without the links that lead to other files."""
    kept: list[Token] = []
    outside = False
    for token in tokens:
        if token.type == "link_open":
            outside = not str(token.attrs.get("href", "")).startswith("#")
        if not (outside and token.type in ("link_open", "link_close")):
            kept.append(token)
        if token.type == "link_close":
            outside = False
    return kept
