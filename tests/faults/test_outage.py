"""Six hours without any channel while everything drifts: afterwards each group is told once, and in order."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.dispatcher import deliver
from monitor.embedded import Database
from monitor.installation import Installation
from monitor.worker import Worker
from tests.faults.fleet import end, fleet
from tests.peers import HttpPeer, MailPeer, Reply
from tests.watched import FIRST, ask, run

QUARTER = timedelta(minutes=15)
FORMS = [pytest.param(2, marks=pytest.mark.short), pytest.param(21, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
START = FIRST - timedelta(hours=4)  # the digest of a day falls into the outage
PASSES = 30  # of the dispatcher in the six hours, each an hour's fifth after the one before


def send(installation: Installation) -> None:
    told = deliver(installation.pulse, installation.channels, now=datetime.now(UTC), rng=random.Random(0), limit=1000)
    asyncio.run(told)


def wait(installation: Installation, minutes: int) -> None:
    """Let time pass for the dispatcher."""
    run(
        installation,
        "UPDATE monitor.channel_state SET not_before = not_before - :span, opened_at = opened_at - :span",
        "UPDATE monitor.delivery SET next_at = next_at - :span WHERE state = 'pending' AND last_error IS NOT NULL",
        span=timedelta(minutes=minutes),
    )


def hook_said(peer: HttpPeer) -> list[dict[str, Any]]:
    return [json.loads(request.body)["notification"] for request in peer.requests]


@pytest.mark.parametrize("models", FORMS)
def test_after_an_outage_of_all_channels_each_group_is_told_once_and_in_order(
    models: int, tmp_path: Path, database: Database, measured: Callable[..., None]
) -> None:
    windows = 24
    with HttpPeer(Reply(503)) as hook, MailPeer() as post:
        post.refuse = dict.fromkeys(("a@example.org", "b@example.org"), "451 not now")
        channels = (
            f"{{hook: {{type: webhook, url: '{hook.url}/'}}, mail: {{type: email, host: 127.0.0.1, port: {post.port},"
            " security: none, sender: m@example.org, recipients: [a@example.org, b@example.org]}}"
        )
        digest = "alerts: {digest: {every: day, to: [hook, mail]}}"
        with fleet(
            tmp_path,
            database,
            models=models,
            windows=windows + 12,
            width=QUARTER,
            channels=channels,
            rest=digest,
            start=START,
        ) as installation:
            worker = Worker(installation=installation)
            waiting = 0
            for part in range(PASSES):
                worker.advance(START + timedelta(hours=6) * (part + 1) / PASSES)
                send(installation)
                wait(installation, 12)
                (now,) = ask(installation, "SELECT count(*) FROM monitor.delivery WHERE state = 'pending'")
                waiting = max(waiting, now)
            judged = ask(installation, "SELECT count(*) FROM monitor.run WHERE state = 'done'")
            assert judged == [models * windows]
            assert 0 < waiting <= 2 * 3 * models  # two channels; what is older than a probe is superseded by then
            assert not [one for one in hook.exchanges if one[1].status == 200]
            attempts = len(hook.requests)
            hook.requests.clear()

            hook.usual, post.refuse = Reply(), {}
            for _ in range(3):
                wait(installation, 20)
                send(installation)
            told = Counter(said["group_key"] for said in hook_said(hook) if said["reason"] != "digest")
            digests = [said for said in hook_said(hook) if said["reason"] == "digest"]
            assert told == dict.fromkeys({f"model-{number:02d}:champion:data" for number in range(models)}, 1)
            (digest_said,) = digests
            assert all(name in str(digest_said) for name in installation.models)
            ids = Counter(mail["X-Monitor-Notification"] for _, mail in post.mails)
            assert ids == Counter(said["id"] for said in hook_said(hook))
            assert ask(
                installation, "SELECT count(*) FROM monitor.delivery WHERE state NOT IN ('sent', 'superseded')"
            ) == [0]

            worker.advance(end(windows + 12, QUARTER, START))
            send(installation)
            for group in told:
                order = [said["window_start"] for said in hook_said(hook) if said["group_key"] == group]
                assert order == sorted(order)
                assert len(order) > 1
    measured(
        scenario=14,
        name=f"six hours without any channel, {models * windows} windows that drift and mend",
        injected=attempts,
        note=f"{len(told)} groups, {sum(told.values())} messages and {len(digests)} digest a channel afterwards; "
        f"at most {waiting} waited",
    )
