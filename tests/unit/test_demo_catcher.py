"""What arrives at the demo's catcher is kept as it came."""

from __future__ import annotations

import json
import smtplib
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import httpx
import pytest

from monitor.demo.catcher import HOST, Catcher


@pytest.fixture
def catcher(tmp_path: Path) -> Iterator[Catcher]:
    with Catcher(folder=tmp_path / "messages") as running:
        yield running


def mail(subject: str, text: str) -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, "monitor@example.org", "team@example.org"
    message.set_content(text)
    message.add_alternative(f"<p>{text}</p>", subtype="html")
    return message


def test_a_mail_is_kept_whole_and_read_as_plain_text(catcher: Catcher) -> None:
    with smtplib.SMTP(HOST, catcher.mail_port, timeout=10) as client:
        client.send_message(mail("57 % late · “April”", "Spät – wie nie."))

    (caught,) = catcher.wait_for(1)

    assert (caught.kind, caught.subject, caught.text.strip()) == ("mail", "57 % late · “April”", "Spät – wie nie.")
    assert caught.file.name == "0001-mail.eml"
    assert b"text/html" in caught.file.read_bytes()


def test_a_webhook_gets_the_answer_of_slack_and_is_kept_as_json(catcher: Catcher) -> None:
    payload = {"text": "late again", "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "*57 %* late"}}]}

    answer = httpx.post(catcher.webhook_url, json=payload, trust_env=False)

    assert (answer.status_code, answer.text) == (200, "ok")
    (caught,) = catcher.wait_for(1)
    assert (caught.kind, caught.subject, caught.text) == ("webhook", "late again", "*57 %* late")
    assert json.loads(caught.file.read_bytes()) == payload


def test_what_is_no_json_is_refused_and_not_kept(catcher: Catcher) -> None:
    assert httpx.post(catcher.webhook_url, content=b"{", trust_env=False).status_code == 400
    assert catcher.messages == []


def test_the_watcher_is_told_of_every_message_in_order(tmp_path: Path) -> None:
    seen: list[str] = []
    with Catcher(folder=tmp_path, seen=lambda caught: seen.append(caught.subject)) as catcher:
        for number in range(3):
            httpx.post(catcher.webhook_url, json={"text": f"message {number}"}, trust_env=False)

    assert seen == [f"message {number}" for number in range(3)]


def test_a_catcher_stops_with_a_mail_session_open_and_frees_its_ports(tmp_path: Path) -> None:
    with Catcher(folder=tmp_path) as catcher:
        client = smtplib.SMTP(HOST, catcher.mail_port, timeout=10)
        client.ehlo()
    client.close()

    with Catcher(folder=tmp_path, mail_port=catcher.mail_port, web_port=catcher.web_port) as again:
        assert (again.mail_port, again.web_port) == (catcher.mail_port, catcher.web_port)
