"""What routers on one store know from each other: which models are closed, and what limits have turned out to be."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import cast

from ratelimit_router.account import Account
from ratelimit_router.cooldown import Incident, Provenance, State
from ratelimit_router.correspondence import Correspondence
from ratelimit_router.lease import Lease
from ratelimit_router.outcomes import Kind, Outcome
from ratelimit_router.stores import terms
from ratelimit_router.stores.shared_account import SharedAccount, micros
from ratelimit_router.stores.terms import Lesson, Page, Record

__all__ = ["Hearsay"]


class Hearsay:
    """`accounts`: all models and pools. `learn`: from a refusal, now that it is known what everybody has spent.

    `closed`: an account was, by what another router has met. `drain`: see `Dispatcher`.
    """

    def __init__(
        self,
        mail: Correspondence,
        clock: Callable[[], float],
        *,
        accounts: Callable[[], Iterable[Account]],
        learn: Callable[[Lease, Account, Outcome], None],
        closed: Callable[[Account, Incident], None],
        drain: Callable[[], None],
    ):
        self._mail, self._clock = mail, clock
        self._accounts, self._learn, self._closed, self._drain = accounts, learn, closed, drain
        self._incidents: dict[str, Incident] = {}  # the latest of each account that the others know
        self._teaching: set[str] = set()  # accounts of which a lesson is on its way
        self._wanted: set[str] = set()  # accounts that are to be looked at

    def accounts(self) -> dict[str, SharedAccount]:
        """All models and pools, by name."""
        return {account.name: cast(SharedAccount, account) for account in self._accounts()}

    # -- telling -------------------------------------------------------------------------------------------------------

    def failed(self, lease: Lease, outcome: Outcome) -> None:
        """A call failed, and the router has acted on it: the others are to know what was closed."""
        record = self._mail.record(lease)
        for account in self.accounts().values():
            incident = account.cooldown.incident
            if incident is not None and incident is not self._incidents.get(account.name):
                self._incidents[account.name] = incident
                self._mail.start(self._report(account, incident, lease, record, outcome))

    def settled(self, lease: Lease) -> None:
        """A call went well, which may have let a limit grow."""
        for account in (lease.candidate.account, *lease.candidate.account.pools):
            if account.delicate:
                self._teach(cast(SharedAccount, account))

    async def _report(
        self, account: SharedAccount, incident: Incident, lease: Lease, record: Record | None, outcome: Outcome
    ) -> None:
        limited = incident.reason is Kind.RATE_LIMITED
        hinted = incident.provenance is Provenance.SERVER
        epoch = account.known_epoch
        if record is not None and account.name in record.accounts:
            epoch = record.epochs[record.accounts.index(account.name)]
        first = epoch >= account.known_epoch
        account.known_epoch = max(account.known_epoch, epoch + 1)  # what others say of that one is no news any more
        found = terms.Incident(
            account=account.name,
            epoch=epoch,
            lasts=micros(max(incident.until - self._clock(), 0.0)),
            extends=incident.provenance is not Provenance.HEURISTIC,
            verdict=micros(account.cooldown.patience),
            silence=limited,
            note=json.dumps([incident.reason.value, incident.quota, hinted]),
        )
        page = await self._mail.insist(lambda: self._mail.store.cool(found))
        self._mail.set_clock(page.now)
        if (
            limited and first and page.epoch == epoch + 1 and not account.is_news(page)
        ):  # nobody has learned from it yet
            account.mirror(page, self._mail.ahead, self._clock())
            self._learn(lease, account, outcome)
            self._teach(account)
        self._adopt(account, page)
        self._drain()

    def _teach(self, account: SharedAccount) -> None:
        if account.name not in self._teaching and account.has_learned:
            self._teaching.add(account.name)
            self._mail.start(self._teach_all(account))

    async def _teach_all(self, account: SharedAccount) -> None:
        """One lesson after the other: each says which one it builds upon."""
        try:
            while lessons := account.lessons(self._mail.ahead):
                for lesson in lessons:
                    await self._teach_one(account, lesson)
        finally:
            self._teaching.discard(account.name)

    async def _teach_one(self, account: SharedAccount, lesson: Lesson) -> None:
        stands = await self._mail.insist(lambda: self._mail.store.teach(lesson))
        if account.heed(stands, self._mail.ahead, self._clock()):
            self._drain()

    # -- hearing -------------------------------------------------------------------------------------------------------

    def look(self, names: Iterable[str]) -> None:
        """Something has changed about these accounts."""
        under_way = bool(self._wanted)
        self._wanted.update(names)
        if self._wanted and not under_way:
            self._mail.start(self._look())

    async def _look(self) -> None:
        names, self._wanted = tuple(sorted(self._wanted)), set()
        pages = await self._mail.insist(lambda: self._mail.store.look(names))
        accounts = self.accounts()
        for page in pages:
            self._mail.set_clock(page.now)
            if (account := accounts.get(page.name)) is not None:
                self._adopt(account, page)
        self._drain()

    def _adopt(self, account: SharedAccount, page: Page) -> None:
        """Believe what the store says, unless this router has met something since that it does not know yet."""
        now, cooldown, known = self._clock(), account.cooldown, account.known_epoch
        account.known_epoch = max(known, page.epoch)
        until = self._mail.local(page.until)
        if page.until and until > max(cooldown.until, now):
            if page.epoch > known or until == math.inf:
                kind, quota, hinted = json.loads(page.note)
                incident = cooldown.hear(Outcome(kind=Kind(kind), quota=quota), until, now, hinted=hinted)
                if incident is not None:
                    self._incidents[account.name] = incident
                    account.rebuild()
                    self._closed(account, incident)
            elif cooldown.incident is not None and cooldown.state is State.COOLING:  # the same: it ends later
                cooldown.until = until
                cooldown.incident = self._incidents[account.name] = replace(cooldown.incident, until=until, fresh=False)
        elif cooldown.state is State.CLOSED and page.epoch >= known and until < math.inf:
            cooldown.reopen()  # elsewhere, the operator has changed something
            account.rebuild()
        for lesson in page.lessons:
            account.heed(lesson, self._mail.ahead, now)
