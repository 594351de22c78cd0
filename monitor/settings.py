"""What the configuration says beside the models: store, channels, routes, alerts, web page, retention, security."""

import ipaddress
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    SecretStr,
    Tag,
    WithJsonSchema,
    model_validator,
)

from monitor.access import Tokens, TokensError, read_tokens
from monitor.check import Cause, Severity
from monitor.section import (
    ClockTime,
    Listed,
    LocalPath,
    PositiveDuration,
    SecretWebAddress,
    Section,
    StoreAddress,
    Text,
    Texts,
    Timezone,
    WebAddress,
    refusal,
    suggestion,
)

Role = Literal["champion", "shadow", "canary"]
Severities = Annotated[tuple[Severity, ...], Listed]
Causes = Annotated[tuple[Cause, ...], Listed]
Roles = Annotated[tuple[Role, ...], Listed]


class StoreSection(Section):
    """The monitor's own database."""

    url: StoreAddress = SecretStr("embedded")
    """Address of the store; `embedded` runs a Postgres under ./.monitor."""
    url_file: Text | None = None
    """File with url."""
    migrator_url: StoreAddress | None = None
    """Address with the rights to change the schema, for `monitor db upgrade` alone."""
    migrator_url_file: Text | None = None
    """File with migrator_url."""


class Channel(Section):
    """Where messages go; the field `type` tells which kind."""

    type: str

    def options(self) -> dict[str, Any]:
        """Return the settings without type and without the names of secret files; secrets stay wrapped."""
        files = {f"{name}_file" for name in self.secrets()}
        return {name: getattr(self, name) for name in type(self).model_fields if name != "type" and name not in files}


class SlackChannel(Channel):
    """Slack, by incoming webhook, or by token and channel (which alone can answer in threads)."""

    type: Literal["slack"]
    webhook_url: SecretWebAddress | None = None
    """Address of the incoming webhook."""
    webhook_url_file: Text | None = None
    """File with webhook_url."""
    token: SecretStr | None = None
    """Bot token with the right chat:write."""
    token_file: Text | None = None
    """File with token."""
    channel: Text | None = None
    """Channel that the token posts to."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.webhook_url is None) == (self.token is None):
            raise refusal("needs exactly one of webhook_url and token; give one", show=False)
        if (self.token is None) != (self.channel is None):
            raise refusal("needs token and channel together; give both", show=False)
        return self


class EmailChannel(Channel):
    """E-mail by SMTP."""

    type: Literal["email"]
    host: Text
    """Mail server."""
    port: int = Field(587, ge=1, le=65535)
    """Its port."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """starttls (usually port 587), tls (usually 465), or none for a server on this machine."""
    ca_file: LocalPath | None = None
    """Certificates to trust instead of the system's."""
    username: Text | None = None
    """Name to log in with."""
    password: SecretStr | None = None
    """Password to log in with."""
    password_file: Text | None = None
    """File with password."""
    sender: Text = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    """Address that the messages come from."""
    recipients: Texts = Field(min_length=1)
    """Addresses that get them."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise refusal("needs username and password together; give both or neither", show=False)
        for position, address in enumerate(self.recipients):
            if address.count("@") != 1 or any(part.isspace() for part in address):
                raise refusal("must be an address such as team@example.org", "recipients", position)
        return self


class WebhookChannel(Channel):
    """A signed HTTP POST of the message as JSON."""

    type: Literal["webhook"]
    url: SecretWebAddress
    """Address that is called."""
    url_file: Text | None = None
    """File with url."""
    secret: SecretStr | None = None
    """Key with which each call is signed."""
    secret_file: Text | None = None
    """File with secret."""


class AlertmanagerChannel(Channel):
    """Prometheus Alertmanager, API v2."""

    type: Literal["alertmanager"]
    url: SecretWebAddress
    """Address of the Alertmanager."""
    url_file: Text | None = None
    """File with url."""


class AppriseChannel(Channel):
    """Any service that Apprise knows (extra `apprise`)."""

    type: Literal["apprise"]
    url: SecretStr
    """Apprise's own address of the service, such as pagerduty://…"""
    url_file: Text | None = None
    """File with url."""


class AddedChannel(Channel):
    """A channel of an added type; its options are checked against the class that is registered under the type."""

    type: str
    settings: Mapping[str, Any]

    @classmethod
    def prepare(cls, given: dict[str, Any], _context: Mapping[str, Any]) -> None:
        """Gather everything but the type into `settings`; refuse a type that nothing is registered under."""
        kind, added = given.get("type"), _context.get("channel_options") or {}
        if isinstance(kind, str) and kind not in added:
            raise refusal(f"is no type of channel; {suggestion(kind, [*CHANNELS, *added])}", "type")
        settings = {name: given.pop(name) for name in list(given) if name != "type"}
        given["settings"] = settings

    def options(self) -> dict[str, Any]:
        """Return the options as written."""
        return dict(self.settings)


CHANNELS: Mapping[str, type[Channel]] = {
    "slack": SlackChannel,
    "email": EmailChannel,
    "webhook": WebhookChannel,
    "alertmanager": AlertmanagerChannel,
    "apprise": AppriseChannel,
}


def _channel_tag(value: Any) -> str:
    kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    return f"({kind})" if isinstance(kind, str) and kind in CHANNELS else "(added)"


AnyChannel = Annotated[
    Annotated[SlackChannel, Tag("(slack)")]
    | Annotated[EmailChannel, Tag("(email)")]
    | Annotated[WebhookChannel, Tag("(webhook)")]
    | Annotated[AlertmanagerChannel, Tag("(alertmanager)")]
    | Annotated[AppriseChannel, Tag("(apprise)")]
    | Annotated[
        AddedChannel,
        Tag("(added)"),
        WithJsonSchema(
            {
                "type": "object",
                "required": ["type"],
                "properties": {"type": {"type": "string", "not": {"enum": list(CHANNELS)}}},
            }
        ),
    ],
    Discriminator(_channel_tag),
]


class MatchSection(Section):
    """What a route is for: every key that is given must have one of the values named."""

    severity: Severities | None = None
    """info, warning, critical."""
    model: Texts | None = None
    """Names of models."""
    cause: Causes | None = None
    """data, concept, drift, resource, release, pipeline."""
    role: Roles | None = None
    """champion, shadow, canary."""
    check: Texts | None = None
    """Names of checks."""


class QuietHours(Section):
    """Hours in which a route waits, over midnight where `from` is later than `to`."""

    timezone: Timezone
    """Time zone of the hours."""
    start: ClockTime = Field(alias="from")
    """Begin, such as "20:00"."""
    end: ClockTime = Field(alias="to")
    """End, such as "08:00"."""

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.start == self.end:
            raise refusal("must differ from from", "to")
        return self


class RouteSection(Section):
    """Which messages go where; the first route that matches wins, unless it says `continue: true`."""

    match: MatchSection = MatchSection()
    """What the route is for; `{}` is everything."""
    to: Texts = Field(min_length=1)
    """Names of channels."""
    quiet_hours: QuietHours | None = None
    """Hours in which the route waits."""
    proceed: bool = Field(False, alias="continue")
    """Go on to the next routes after this one matched."""


class EscalateSection(Section):
    """Who else hears of a critical alert that nobody acknowledges: once per episode, while it is open."""

    after: PositiveDuration
    """Time without an acknowledgement, from the first message that calls it critical; anew when one runs out."""
    to: Texts = Field(min_length=1)
    """Names of further channels."""


class DigestSection(Section):
    """The summary of everything that was not worth a message."""

    every: Literal["day", "week", "month"] = "week"
    """day, week or month."""
    to: Texts = Field(min_length=1)
    """Names of channels."""


def _daily_when_critical() -> Mapping[Severity, timedelta]:
    return {Severity.CRITICAL: timedelta(hours=24)}


class AlertsSection(Section):
    """When an alert fires, recovers and repeats."""

    k: int = Field(2, ge=1)
    """Bad windows among the last n that make an alert fire."""
    n: int = Field(3, ge=1, le=100)
    """Windows that are looked at."""
    recover: int = Field(3, ge=1, le=100)
    """Good windows in a row that resolve it."""
    repeat: Mapping[Severity, PositiveDuration] = Field(default_factory=_daily_when_critical)
    """Severity → time after which a firing alert is told again."""
    escalate: EscalateSection | None = None
    """Who else hears of a critical alert that nobody acknowledges."""
    digest: DigestSection | None = None
    """The summary of everything that was not worth a message."""

    @model_validator(mode="after")
    def _k_of_n(self) -> Self:
        if self.k > self.n:
            raise refusal(f"must not exceed n, which is {self.n}", "k")
        return self


def _listen(value: Any) -> Any:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise refusal('must be an address and a port such as "127.0.0.1:8080"')
    return value


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            ipaddress.ip_network(value)
        except ValueError:
            raise refusal("must be addresses or networks such as 10.0.0.7 or 10.0.0.0/29") from None
    return values


Networks = Annotated[Texts, AfterValidator(_networks)]
#: What a browser or the page itself sets cannot name a person.
TAKEN_HEADERS = frozenset({"authorization", "cookie", "host", "origin", "referer", "content-type", "content-length"})


class WebSection(Section):
    """Page, API and metrics."""

    listen: Annotated[str, BeforeValidator(_listen)] = "127.0.0.1:8080"
    """Address and port to listen on."""
    base_url: WebAddress | None = None
    """Address under which people reach the page; links in messages begin with it."""
    tokens_file: LocalPath | None = None
    """File with a line for each person and program: name, viewer or operator, token. With it the page asks for one."""
    proxy_header: Text | None = None
    """Header in which a proxy for single sign-on names the person; needs proxy_addresses and tokens_file."""
    proxy_addresses: Networks = ()
    """Addresses or networks of that proxy, such as 10.0.0.7 or 10.0.0.0/29; from elsewhere the header is refused."""
    proxy_operators: Texts = ()
    """Names, as the proxy writes them, of those who are operators; everybody else whom it lets in is a viewer."""

    _tokens: Tokens | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _whole_sign_on(self) -> Self:
        if self.proxy_header is None and (self.proxy_addresses or self.proxy_operators):
            raise refusal(
                "is needed by proxy_addresses and proxy_operators; name the header", "proxy_header", show=False
            )
        if self.proxy_header is not None:
            if not re.fullmatch(r"[A-Za-z0-9-]+", self.proxy_header) or self.proxy_header.lower() in TAKEN_HEADERS:
                raise refusal("is no name of a header of its own; write one such as X-Forwarded-User", "proxy_header")
            if not self.proxy_addresses:
                remedy = "name the proxy's, or anybody who reaches the page could be anybody"
                raise refusal(f"is needed by proxy_header; {remedy}", "proxy_addresses", show=False)
            if self.tokens_file is None:
                raise refusal("is needed by proxy_header: its tokens sign the forms", "tokens_file", show=False)
        return self

    @model_validator(mode="after")
    def _read_tokens(self) -> Self:
        if self.tokens_file is not None:
            try:
                self._tokens = read_tokens(self.tokens_file)
            except TokensError as error:
                raise refusal(str(error), "tokens_file", show=False) from None
        return self

    @property
    def tokens(self) -> Tokens | None:
        """Who may use the page; None where nobody needs a token to read and nothing can be changed."""
        return self._tokens

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class DeadmanSection(Section):
    """An outside address that expects a sign of life."""

    url: SecretWebAddress | None = None
    """Address that is called after committed work."""
    url_file: Text | None = None
    """File with url."""


class RetentionSection(Section):
    """How long what is kept."""

    tiles: PositiveDuration = timedelta(days=400)
    """Profiles of pieces of time."""
    findings: PositiveDuration = timedelta(days=3 * 365)
    """Judgements."""
    ok_findings: PositiveDuration = timedelta(days=30)
    """Judgements that were ok and belong to no alert or recommendation; at least those of the last 400 windows stay."""
    samples: PositiveDuration = timedelta(days=90)
    """Samples of rows."""
    logs: PositiveDuration = timedelta(days=90)
    """The built-in log tables."""
    reports: PositiveDuration = timedelta(days=90)
    """Evidently reports."""


class SecuritySection(Section):
    """What is allowed beyond the safe default."""

    allow_private_addresses: bool = False
    """Let webhooks lead to private and loopback addresses, there also without https."""
