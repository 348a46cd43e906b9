"""A message for a webhook, in the shape that its receiver takes.

Slack and what is made like it take ``text``, Discord takes ``content``, Alertmanager a list of
alerts, and whatever takes Alertmanager's own webhooks ``alerts`` beside a ``status``; to a host
that is none of these goes one body with all of them. Sources, read in 2026: Slack "Sending messages
using incoming webhooks", Discord "Execute Webhook", Prometheus "Alerting configuration:
webhook_config" and Alertmanager's ``api/v2/openapi.yaml``. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from rpcproxy.rules.telling.notices import Bulletin, Line, NoticeEvent
from rpcproxy.states import CHANGES, severity_of

Shape = Literal["slack", "discord", "alertmanager", "all"]
Redact = Callable[[str], str]

LONGEST_CONTENT: Final = 2000  # Discord refuses more
_LONGEST_REASON: Final = 300
_SLACK_HOSTS: Final = ("slack.com", "slack-gov.com")
_DISCORD_HOSTS: Final = ("discord.com", "discordapp.com")
_ALERTS_PATH: Final = "/api/v2/alerts"
# Alertmanager would take an alert that is not sent again for ended after five minutes.
_LASTING_SECONDS: Final = 24 * 3600.0
_PASSING_SECONDS: Final = 300.0


def shape_of(url: str) -> Shape:
    """Which shape the receiver at this URL takes."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if _is_under(host, _SLACK_HOSTS):
        return "slack"
    if _is_under(host, _DISCORD_HOSTS):
        # Discord takes Slack's shape as well, under a path of its own.
        return "slack" if parts.path.rstrip("/").endswith("/slack") else "discord"
    return "alertmanager" if parts.path.rstrip("/").endswith(_ALERTS_PATH) else "all"


def body_of(bulletin: Bulletin, shape: Shape, redact: Redact) -> object:
    """What is sent, to be written as JSON. ``redact`` goes over every text in it."""
    if shape == "slack":
        return {"text": _escaped(text_of(bulletin, redact))}
    if shape == "discord":
        return _discord(bulletin, redact)
    alerts = _alerts(bulletin, redact)
    if shape == "alertmanager":
        return alerts
    is_firing = any(alert["status"] == "firing" for alert in alerts)
    return {
        "version": "4",
        "receiver": "rpcproxy",
        "status": "firing" if is_firing else "resolved",
        "groupKey": "rpcproxy",
        "groupLabels": {},
        "commonLabels": _common(alerts, "labels"),
        "commonAnnotations": _common(alerts, "annotations"),
        "externalURL": "",
        "truncatedAlerts": bulletin.left_out,
        "alerts": alerts,
        "text": text_of(bulletin, redact),
        **_discord(bulletin, redact),
    }


def text_of(bulletin: Bulletin, redact: Redact = str) -> str:
    """The message in words, one line per event."""
    lines = [_words(line, redact) for line in bulletin.lines]
    if bulletin.left_out:
        lines.append(f"and {bulletin.left_out} more changes, too many to tell one by one")
    if bulletin.undelivered:
        lines.append(f"{bulletin.undelivered} earlier changes could not be delivered here")
    if len(lines) == 1:
        return f"rpcproxy: {lines[0]}"
    return "\n".join(("rpcproxy:", *(f"- {line}" for line in lines)))


def _words(line: Line, redact: Redact) -> str:
    event = line.event
    what = CHANGES[event.kind].sentence
    whose = ": ".join(filter(None, (event.chain, event.upstream)))
    # "infura-us is left out", and "ethereum: nobody can serve it".
    said = f"{whose} {what}" if event.upstream else ": ".join(filter(None, (whose, what)))
    if event.method_class is not None:
        said += f" for {event.method_class} calls"
    if event.reason:
        # Redacted before it is cut: nobody would know half a key.
        said += f": {redact(event.reason)[:_LONGEST_REASON]}"
    if line.count > 1:
        said += f" ({line.count} times)"
    return _quiet(redact(said))


def _quiet(text: str) -> str:
    """An upstream's words must call nobody by name: ``@channel``, ``@everyone``."""
    return text.replace("@", "@\u200b").replace("\n", " ").replace("\r", " ")


def _escaped(text: str) -> str:
    """Slack takes these three for markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _discord(bulletin: Bulletin, redact: Redact) -> dict[str, Any]:
    content = text_of(bulletin, redact)
    if len(content) > LONGEST_CONTENT:
        content = content[: LONGEST_CONTENT - 2].rpartition("\n")[0] + "\n…"
    return {"content": content, "allowed_mentions": {"parse": []}}


# --------------------------------------------------------------------------
# Alerts


def _alerts(bulletin: Bulletin, redact: Redact) -> list[dict[str, Any]]:
    """One per condition: where it came and went within one message, how it ended counts."""
    last = {
        (line.event.chain, line.event.upstream, line.event.condition): line
        for line in bulletin.lines
    }
    return [_alert(line, redact) for line in last.values()]


def _alert(line: Line, redact: Redact) -> dict[str, Any]:
    event = line.event
    labels = {
        "alertname": "Rpcproxy" + re.sub(r"(?:^|_)(\w)", lambda m: m[1].upper(), event.condition),
        "severity": severity_of(event.kind),
        "service": "rpcproxy",
        **({"chain": event.chain} if event.chain else {}),
        **({_whose(event): redact(event.upstream)} if event.upstream else {}),
    }
    lasts = _PASSING_SECONDS if CHANGES[event.condition].is_passing else _LASTING_SECONDS
    ends_at = event.unix_seconds if event.is_over else event.unix_seconds + lasts
    return {
        "status": "resolved" if event.is_over else "firing",
        "labels": labels,
        "annotations": {
            "summary": _words(line, redact),
            "description": _quiet(redact(event.reason)[:_LONGEST_REASON]),
        },
        "startsAt": _rfc3339(event.unix_seconds),
        "endsAt": _rfc3339(ends_at),
        "generatorURL": "",
        "fingerprint": "",
    }


def _whose(event: NoticeEvent) -> str:
    return "domain" if CHANGES[event.kind].of_domain else "upstream"


def _common(alerts: list[dict[str, Any]], key: str) -> Mapping[str, str]:
    """What all of them share."""
    first, *others = (alert[key] for alert in alerts)
    shared = set(first.items()).intersection(*(other.items() for other in others))
    return dict(sorted(shared))


def _rfc3339(unix_seconds: float) -> str:
    moment = datetime.fromtimestamp(unix_seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_under(host: str, domains: tuple[str, ...]) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)
