"""Slack's Block Kit: a message as blocks, every field escaped, within Slack's limits of length and number."""

from __future__ import annotations

from typing import Any

from monitor.message import Line, Message

HEADER = 150  # characters of a header
SECTION = 3000  # of a section
MOST_BLOCKS = 50
MARKS = {
    "critical": "🔴",
    "warning": "🟠",
    "info": "🔵",
    "resolved": "🟢",
    "superseded": "⚪",
    "silence": "🔕",
    "recommendation": "🟣",
    "approved": "🟣",
    "digest": "📋",
    "test": "🔔",
}


def slack_text(text: str, limit: int) -> str:
    """Return a text escaped for Slack in at most ``limit`` characters: no mention, link or code can come from it.

    >>> slack_text("<!channel> & `code`", 80)
    '&lt;!channel&gt; &amp; ˋcodeˋ'
    """
    escapes = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "`": "ˋ"}
    pieces = [escapes.get(c, c) for c in text]
    if sum(map(len, pieces)) <= limit:
        return "".join(pieces)
    kept: list[str] = []
    left = limit - 1
    for piece in pieces:
        if len(piece) > left:
            break
        kept.append(piece)
        left -= len(piece)
    return "".join(kept) + "…"


def slack_blocks(message: Message) -> list[dict[str, Any]]:
    """Return the message in Slack's Block Kit, within its limits of length and number."""
    m = message
    where = " · ".join(part for part in (m.model, m.window, "" if m.lead == m.reason else m.reason) if part)
    header = slack_text(f"{MARKS[m.tone]} {m.lead}: {m.title}", HEADER)
    blocks: list[dict[str, Any]] = []
    if m.short:
        blocks.append(_section(f"{MARKS[m.tone]} *{_mrkdwn(m.lead)}: {_mrkdwn(m.title)}*"))
    else:
        blocks.append({"type": "header", "text": {"type": "plain_text", "text": header, "emoji": False}})
    blocks.append(_context(_mrkdwn(where)))
    if m.note:
        blocks.append(_context(f"ℹ️ *Note:* {_mrkdwn(m.note)}"))
    if m.summary:
        blocks.append(_section(_mrkdwn(m.summary)))
    blocks += [_section(chunk) for chunk in _chunks([_fact(line) for line in m.facts] + ([m.more] if m.more else []))]
    if m.trend:
        blocks.append(_section(f"{_mrkdwn(m.trend.title)}\n`{m.trend.blocks}`\n{_mrkdwn(m.trend.caption)}"))
    if m.cost:
        blocks.append(_section(f"*Cost:* {_mrkdwn(m.cost)}"))
    if m.next_step:
        blocks.append(_section(f"*What to do:* {_mrkdwn(m.next_step)}"))
    if m.links:
        links = [_slack_link(label, address) for label, address in m.links]
        blocks += [_section(chunk) for chunk in _chunks(links, " · ")]
    return [*blocks[: MOST_BLOCKS - 1], _context(_mrkdwn(m.footer))]


def _fact(line: Line) -> str:
    figures = f" ({_mrkdwn(line.figures)})" if line.figures else ""
    return f"• `{slack_text(line.subject, 400)}` {_mrkdwn(line.text)}{figures}"


def _chunks(lines: list[str], separator: str = "\n") -> list[str]:
    """Lines joined to texts that fit into one block each; no line is longer than a block."""
    chunks: list[str] = []
    for line in lines:
        if chunks and len(chunks[-1]) + len(separator) + len(line) <= SECTION:
            chunks[-1] += separator + line
        else:
            chunks.append(line)
    return chunks


def _slack_link(label: str, address: str) -> str:
    return f"<{address.replace('&', '&amp;')}|{_mrkdwn(label)}>" if address else _mrkdwn(label)


def _mrkdwn(text: str) -> str:
    """Escaped for markup: what would be bold, italic or struck through there is shown as it is written."""
    return slack_text(text, SECTION - 100).translate(_PLAIN_MARKS)


_PLAIN_MARKS = {ord("*"): "∗", ord("~"): "∼"}


def _section(markup: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": markup, "verbatim": True}}


def _context(markup: str) -> dict[str, Any]:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": markup, "verbatim": True}]}
