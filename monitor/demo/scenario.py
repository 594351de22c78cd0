"""The demo's configuration: an ordinary ``monitor.yaml`` that every command works on and a user can start from."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from monitor.demo import flights
from monitor.demo.fault import FAULTS, LEAK_SENTENCE

PID_FILE = Path("run", "leak-injected-by-the-demo.pid")
PAGE_PORT = 8080

TEMPLATE = """\
# Written by `monitor demo`. An ordinary configuration: change it, or take it as the start of your own.
store:
  url: embedded                     # Postgres below this folder, in ./.monitor

models:
  {model}:
    active: {{from: {since}, until: {until}}}
    business:
      automates: rebooking connections before departure
      manual_process: agents rebook at the gate
      good_enough: {{metric: cost_per_prediction, at_most: 2.9}}
      currency: USD
      costs: {{false_positive: {false_alarm:g}, false_negative: {missed:g}}}
      fallback_cost: {fallback_cost:.2f}           # always saying "not late", measured in January and February
      consequences: missed connections are rebooked at full fare
    source:
      url: store                    # the demo's model logs into the same database, schema serving
      table: serving.predictions
      time: occurred_at
      logged_at: logged_at
      id: request_id
      version: model_version
      role: deployment_role
      features:
{features}
      prediction: {{score: p_late, label: said_late, threshold: {cut_off:g}}}
      outcome: {{table: serving.outcomes, id: request_id, label: was_late, time: observed_at, matures_after: 2d}}
      upstreams:
{upstreams}
    window: {{calendar: day, timezone: {zone}}}
    lag: 15m
    lateness: 48h
    false_alerts_per_month: 0.5
    serving:
      process: {{pid_file: {pid_file}}}    # INJECTED: this process leaks memory on purpose
      every: 1s
    retraining: {{cost: 300}}
    annotations:                    # what the demo injects is said in every message about its time
{annotations}

channels:
  ops: {{type: slack, webhook_url: "{webhook_url}"}}       # the demo's own catcher; see ./messages
  team:
    type: email
    host: 127.0.0.1
    port: {mail_port}
    security: none
    sender: monitor@example.org
    recipients: [team@example.org]
routes:
  - {{match: {{}}, to: [ops, team]}}
alerts: {{k: 2, n: 3, recover: 3, repeat: {{critical: 24h}}, digest: {{every: week, to: [team]}}}}
web: {{listen: "127.0.0.1:{page_port}", base_url: "http://127.0.0.1:{page_port}"}}
# the flights are of 2013
retention: {{tiles: 100y, findings: 100y, ok_findings: 100y, samples: 100y, logs: 100y, reports: 100y}}
security: {{allow_private_addresses: true}}     # the catcher is on this machine
"""


ANNOTATIONS = (
    *((fault.since, fault.until + timedelta(days=1), fault.sentence) for fault in FAULTS),
    (date(2014, 2, 1), date(2100, 1, 1), LEAK_SENTENCE),  # the process lives now, not in the replayed year
)


def _annotation(since: date, until: date, text: str) -> str:
    return f'      - {{from: {since}, until: {until}, text: "{text}"}}'


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What of the configuration depends on the machine and on how much is replayed; ``until`` is exclusive."""

    until: date
    webhook_url: str
    mail_port: int
    page_port: int
    fallback_cost: float

    def configuration(self) -> str:
        """Return the text of ``monitor.yaml``."""
        kinds = dict.fromkeys(flights.NUMERIC, "numeric") | dict.fromkeys(flights.CATEGORICAL, "categorical")
        return TEMPLATE.format(
            model=flights.MODEL,
            since=flights.PRODUCTION_FROM,
            until=self.until,
            false_alarm=flights.FALSE_ALARM,
            missed=flights.MISSED,
            cut_off=flights.CUT_OFF,
            zone=flights.ZONE.key,
            fallback_cost=self.fallback_cost,
            features="\n".join(f"        {name}: {kind}" for name, kind in kinds.items()),
            upstreams="\n".join(
                f"        {name}: [{', '.join(members)}]" for name, members in flights.UPSTREAMS.items()
            ),
            annotations="\n".join(_annotation(*about) for about in ANNOTATIONS),
            pid_file=PID_FILE.as_posix(),
            webhook_url=self.webhook_url,
            mail_port=self.mail_port,
            page_port=self.page_port,
        )


def free_port(preferred: int = PAGE_PORT) -> int:
    """Return the preferred port of loopback where it is free, else any free one."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("No port is free on 127.0.0.1.")
