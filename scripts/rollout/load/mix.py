"""The mix: which requests are made, in what proportion, with what content, and what each answer means for the
journal.
"""

from __future__ import annotations

import base64
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from rollout.load.journal import Journal
from rollout.load.targets import Campaign, Company, Message, Targets, pick

Answer = dict[str, Any]
QUEUES = ("email-sending",) * 4 + (
    "email-processing",
    "email-processing",
    "analytics-daily",
    "analytics-campaign",
    "analytics-billing",
    "warmup-processing",
    "bounce-processing",
    "webhook-processing",
)
BILLING_KEYS = 20
STATUSES = ("sent", "delivered", "opened", "replied", "bounced", "failed")


def nothing(_answer: Answer) -> None:
    """Take note of nothing: a read, or a write that another line covers."""


@dataclass(frozen=True)
class Operation:
    """One request: `expected` is the only status that counts as success; `acknowledged` and `missed` write the
    journal.
    """

    name: str
    method: str
    path: str
    body: Answer | None = None
    expected: int = 200
    acknowledged: Callable[[Answer], None] = nothing
    missed: Callable[[], None] = lambda: None


class Mix:
    """Makes operations from a seeded generator. The ids differ from run to run, what is done with them does not."""

    def __init__(self, seed: int, nonce: str, targets: Targets, journal: Journal) -> None:
        """`nonce` sets this run's ids apart from those of another run with the same seed."""
        self._rng = random.Random(seed)
        self._ids = random.Random(f"{seed}-{nonce}")
        self._targets = targets
        self._journal = journal
        # Periods of this very run: microseconds that nobody else uses, in the present year.
        month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        # Billing and counters are of one tenant: this load's campaigns are those of the companies that have a period.
        self._periods = {
            self._rng.choice(targets.companies): (
                month + timedelta(microseconds=self._ids.randrange(10**9))
            ).isoformat()
            for _ in range(BILLING_KEYS)
        }
        self._makers: dict[str, tuple[int, Callable[[], Operation]]] = {
            "read_message": (24, self.read_message),
            "read_thread": (10, self.read_thread),
            "campaign_dashboard": (9, self.campaign_dashboard),
            "billing_dashboard": (5, self.billing_dashboard),
            "create_campaign": (4, self.create_campaign),
            "record_message": (14, self.record_message),
            "set_status": (7, self.set_status),
            "reply": (6, self.reply),
            "enqueue": (6, self.enqueue),
            "move": (3, self.move),
            "work": (8, self.work),
            "record_analytics": (4, self.record_analytics),
        }
        self._names = list(self._makers)
        self._weights = [weight for weight, _ in self._makers.values()]

    def next(self) -> Operation:
        """Return the next operation."""
        (name,) = self._rng.choices(self._names, self._weights)
        return self._makers[name][1]()

    def read_message(self) -> Operation:
        """Read a message; without any, record one."""
        found = self._targets.message(self._rng)
        return Operation("read_message", "GET", _path(found, asks=True)) if found else self.record_message()

    def read_thread(self) -> Operation:
        """Read a thread; without any message, record one."""
        found = self._targets.message(self._rng)
        return Operation("read_thread", "GET", _path(found, "/thread", asks=True)) if found else self.record_message()

    def campaign_dashboard(self) -> Operation:
        """Read a company's dashboard."""
        company = self._company()
        asked = urlencode({"company_id": company.company_id, "tenant_id": company.tenant_id})
        return Operation("campaign_dashboard", "GET", f"/dashboards/campaigns?{asked}")

    def billing_dashboard(self) -> Operation:
        """Read a tenant's dashboard."""
        return Operation("billing_dashboard", "GET", f"/dashboards/billing?tenant_id={self._company().tenant_id}")

    def create_campaign(self) -> Operation:
        """Create a campaign with one to five leads."""
        company, identity = self._rng.choice(list(self._periods)), self._id()
        leads = [self._id() for _ in range(self._rng.randint(1, 5))]
        created = Campaign(company.tenant_id, company.company_id, identity, leads[0])
        body = {
            "id": identity,
            "tenant_id": company.tenant_id,
            "company_id": company.company_id,
            "name": f"load {identity[:8]}",
            "status": "draft",
            "leads": [{"id": lead, "email": f"{lead}@load.example", "name": "load"} for lead in leads],
        }

        def acknowledged(_answer: Answer) -> None:
            self._targets.own_campaigns.append(created)
            self._journal.write("campaign", "ack", key=identity, name=body["name"], leads=leads)

        return self._write("create_campaign", "POST", "/campaigns", body, 201, acknowledged, "campaign", identity)

    def record_message(self) -> Operation:
        """Record a message in either direction; one in ten has an attachment, one in fifty a parent that nobody has."""
        key, direction = f"load/{self._id()}", self._rng.choice(("inbound", "outbound"))
        campaign = self._targets.campaign(self._rng)
        luck = self._rng.random()
        answered = self._targets.message(self._rng) if 0.02 <= luck < 0.3 else None
        if answered and campaign and campaign.tenant_id != answered.tenant_id:
            # A message, what it answers and its campaign are of one tenant.
            campaign = None
        tenant_id = (answered or campaign or self._company()).tenant_id
        parent = f"load/unknown/{key[5:]}" if luck < 0.02 else answered.key if answered else None
        body: Answer = {
            "storage_key": key,
            "tenant_id": tenant_id,
            "campaign_id": campaign.campaign_id if campaign else None,
            "lead_id": campaign.lead_id if campaign else None,
            "direction": direction,
            "from_email": "from@load.example",
            "to_email": "to@load.example",
            "subject": f"load {key[-12:]}",
            "content_text": "x" * self._rng.randint(100, 2000),
            "parent_message_id": parent,
            "status": "sent" if direction == "outbound" else "delivered",
        }
        if self._rng.random() < 0.1:
            data = base64.b64encode(self._rng.randbytes(1000)).decode()
            body["attachments"] = [
                {"id": self._id(), "filename": "load.bin", "mime_type": "image/png", "content": data}
            ]
        return self._message("record_message", "/messages", body, None if luck < 0.02 else parent)

    def reply(self) -> Operation:
        """Reply to a message of this load; without any, record one."""
        parent = pick(self._rng, self._targets.own_messages)
        if parent is None:
            return self.record_message()
        body = {
            "storage_key": f"load/{self._id()}",
            "tenant_id": parent.tenant_id,
            "subject": "load reply",
            "content_text": "reply",
        }
        return self._message("reply", _path(parent, "/replies"), body, parent.key)

    def set_status(self) -> Operation:
        """Change the status of a message of this load that has no change under way; without any, record one."""
        own = pick(self._rng, self._targets.own_messages)
        if own is None or own.key in self._targets.busy:
            return self.record_message()
        key = own.key
        status = self._rng.choice(STATUSES)
        # The intent goes first: an update that nobody acknowledged may be there or not. A key with such an update is
        # left alone from then on (it stays busy), since the late update could overtake a later one.
        self._targets.busy.add(key)
        self._journal.write("status", "intent", key=key, status=status)

        def acknowledged(_answer: Answer) -> None:
            self._targets.busy.discard(key)
            self._journal.write("status", "ack", key=key, status=status)

        body = {"tenant_id": own.tenant_id, "status": status}
        return self._write("set_status", "PATCH", _path(own), body, 200, acknowledged, "status", key)

    def enqueue(self) -> Operation:
        """Enqueue a job; some fail once or twice, some for good."""
        identity = self._id()
        body = {
            "id": identity,
            "queue_name": self._rng.choice(QUEUES),
            "priority": self._rng.choice((10, 50, 100, 100, 150, 200)),
            "payload": {
                "tenant_id": self._company().tenant_id,
                "fail_times": self._rng.choices((0, 1, 2, 9), (85, 8, 3, 4))[0],
            },
        }

        def acknowledged(_answer: Answer) -> None:
            self._journal.write("job", "ack", key=identity)

        return self._write("enqueue", "POST", "/jobs", body, 201, acknowledged, "job", identity)

    def move(self) -> Operation:
        """Have the queuer move ready jobs."""
        return Operation("move", "POST", "/queue/move?limit=50")

    def work(self) -> Operation:
        """Have one job worked, whoever enqueued it; only an outcome that is final is looked up later."""
        queue = self._rng.choice(QUEUES)

        def acknowledged(answer: Answer) -> None:
            if answer["outcome"] in ("completed", "dead"):
                self._journal.write("worked", "ack", key=answer["job_id"], outcome=answer["outcome"])

        return self._write("work", "POST", f"/jobs/work?queue={queue}", None, 200, acknowledged, "worked", queue)

    def record_analytics(self) -> Operation:
        """Add to counters of a billing period of this run, and of a campaign of this load."""
        campaign = pick(self._rng, self._targets.own_campaigns)
        if campaign is None:
            return self.create_campaign()
        start = self._periods[Company(campaign.tenant_id, campaign.company_id)]
        sent = self._rng.randint(1, 9)
        body = {
            "tenant_id": campaign.tenant_id,
            "campaign_id": campaign.campaign_id,
            "company_id": campaign.company_id,
            "period_start": start,
            "period_end": start,
            "sent": sent,
            "delivered": sent,
            "emails_sent": sent,
        }
        counted = {"key": campaign.campaign_id, "tenant": campaign.tenant_id, "period": start, "sent": sent}

        def acknowledged(_answer: Answer) -> None:
            self._journal.write("analytics", "ack", **counted)

        key = campaign.campaign_id
        return self._write("record_analytics", "POST", "/analytics", body, 200, acknowledged, "analytics", key)

    def _message(self, name: str, path: str, body: Answer, known_parent: str | None) -> Operation:
        key = str(body["storage_key"])

        def acknowledged(answer: Answer) -> None:
            self._targets.own_messages.append(Message(str(body["tenant_id"]), key))
            self._journal.write(
                "message",
                "ack",
                key=key,
                direction=answer["direction"],
                subject=body["subject"],
                parent=known_parent,
                status=answer["status"],
            )

        return self._write(name, "POST", path, body, 201, acknowledged, "message", key)

    def _write(
        self,
        name: str,
        method: str,
        path: str,
        body: Answer | None,
        expected: int,
        acknowledged: Callable[[Answer], None],
        kind: str,
        key: str,
    ) -> Operation:
        def missed() -> None:
            self._journal.write(kind, "missed", key=key)

        return Operation(name, method, path, body, expected, acknowledged, missed)

    def _company(self) -> Company:
        return self._rng.choice(self._targets.companies)

    def _id(self) -> str:
        return str(uuid.UUID(int=self._ids.getrandbits(128), version=4))


def _path(message: Message, below: str = "", *, asks: bool = False) -> str:
    """Return the path of a message or of what is below it; a GET says in its query which tenant asks."""
    return f"/messages/{quote(message.key)}{below}" + (
        f"?{urlencode({'tenant_id': message.tenant_id})}" if asks else ""
    )
