"""What holds for every channel that is registered: a new one is one file, and this runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from pydantic import ValidationError

from monitor.notification import DeliveryError, Reason, Receipt, channels
from tests.peers import HOST, HttpPeer, MailPeer, Reply, closed_port, notification, send

CANARY = "canary-7f3a"
NAMES = list(channels.load())

Options = Callable[[ExitStack, str], dict[str, Any]]


def _http(stack: ExitStack, state: str) -> str:
    if state == "absent":
        return f"http://{HOST}:{closed_port()}"
    reply = {"well": Reply(200, b"ok"), "ill": Reply(500, CANARY.encode()), "refusing": Reply(403, CANARY.encode())}
    return stack.enter_context(HttpPeer(reply[state])).url


def _slack(stack: ExitStack, state: str) -> dict[str, Any]:
    return {"webhook_url": f"{_http(stack, state)}/services/{CANARY}", "allow_private": True}


def _webhook(stack: ExitStack, state: str) -> dict[str, Any]:
    return {"url": f"{_http(stack, state)}/{CANARY}", "secret": f"{CANARY}-signing", "allow_private": True}


def _email(stack: ExitStack, state: str) -> dict[str, Any]:
    port = closed_port()
    if state != "absent":
        peer = stack.enter_context(MailPeer())
        port, peer.data_reply = peer.port, {"well": "", "ill": "451 later", "refusing": "554 never"}[state]
    return {"host": HOST, "port": port, "security": "none", "sender": "m@example.org", "recipients": ["a@example.org"]}


def _apprise(stack: ExitStack, state: str) -> dict[str, Any]:
    return {"url": f"json{_http(stack, state).removeprefix('http')}/{CANARY}"}


#: How to reach a peer that is well, ill (tries again help), refusing or absent. A channel added here by its author is
#: run through everything below; one that needs more than a local server is only checked for its form.
PEERS: dict[str, Options] = {"slack": _slack, "webhook": _webhook, "email": _email, "apprise": _apprise}
RUN = [name for name in NAMES if name in PEERS]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as open_things:
        yield open_things


@pytest.mark.parametrize("name", NAMES)
def test_a_channel_is_a_frozen_dataclass_with_a_sentence_about_it(name: str) -> None:
    cls = channels.load()[name]
    assert is_dataclass(cls)
    assert cls.__dataclass_params__.frozen
    assert cls.__doc__
    assert not cls.__doc__.startswith(f"{cls.__name__}(")
    assert asyncio.iscoroutinefunction(cls.send)


@pytest.mark.parametrize("name", NAMES)
def test_an_option_that_a_channel_does_not_know_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="no_such_option"):
        channels.build(name, {"no_such_option": 1})


@pytest.mark.parametrize("name", RUN)
@pytest.mark.parametrize("reason", list(Reason))
def test_every_kind_of_message_goes_out(name: str, reason: Reason, stack: ExitStack) -> None:
    channel = channels.build(name, PEERS[name](stack, "well"))
    receipt = send(channel, notification(reason=reason, in_thread=reason is Reason.RESOLVED))
    assert isinstance(receipt, Receipt)


@pytest.mark.parametrize("name", RUN)
def test_a_message_with_nothing_but_a_title_goes_out(name: str, stack: ExitStack) -> None:
    bare: dict[str, Any] = {
        "summary": "",
        "facts": (),
        "cost": "",
        "next_step": "",
        "links": {},
        "chart": None,
        "window_label": "",
    }
    send(channels.build(name, PEERS[name](stack, "well")), notification(**bare))


@pytest.mark.parametrize("name", RUN)
@pytest.mark.parametrize(("state", "permanent"), [("ill", False), ("refusing", True), ("absent", False)])
def test_a_failure_is_a_delivery_error_without_secrets(
    name: str, state: str, permanent: bool, stack: ExitStack
) -> None:
    channel = channels.build(name, PEERS[name](stack, state))
    with pytest.raises(DeliveryError) as caught:
        send(channel, notification())
    assert caught.value.permanent is permanent
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(channel)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", RUN)
def test_sending_leaves_the_options_as_they_were(name: str, stack: ExitStack) -> None:
    channel = channels.build(name, PEERS[name](stack, "well"))
    options = [field.name for field in fields(channel) if field.init]  # type: ignore[arg-type]  # it is a dataclass
    before = [getattr(channel, option) for option in options]
    send(channel, notification())
    assert [getattr(channel, option) for option in options] == before
