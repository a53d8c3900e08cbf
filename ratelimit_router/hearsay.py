"""What routers on one store know from each other: which models are closed, and what limits have turned out to be."""

import json
from collections.abc import Callable, Iterable
from typing import cast

from ratelimit_router.account import Account
from ratelimit_router.cooldown import ACCEPTED_AFTER, LOST_AFTER, Incident, Provenance
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
        epoch = account.known_epoch
        if record is not None and account.name in record.accounts:
            epoch = record.epochs[record.accounts.index(account.name)]
        limited = incident.reason is Kind.RATE_LIMITED
        hinted = incident.provenance is Provenance.SERVER
        found = terms.Incident(
            account=account.name,
            epoch=epoch,
            lasts=micros(max(incident.until - self._clock(), 0.0)),
            extends=incident.provenance is not Provenance.HEURISTIC,
            verdict=micros(ACCEPTED_AFTER if limited else LOST_AFTER),
            silence=limited,
            note=json.dumps([incident.reason.value, incident.quota, hinted]),
        )
        page = await self._mail.insist(lambda: self._mail.store.cool(found))
        account.mirror(page, self._mail.ahead, self._clock())
        if limited and page.epoch == epoch + 1:  # nobody has reported it before
            self._learn(lease, account, outcome)
            self._teach(account)
        self._adopt(account, page)

    def _teach(self, account: SharedAccount) -> None:
        for lesson in account.lessons(self._mail.ahead):
            self._mail.start(self._teach_one(account, lesson))

    async def _teach_one(self, account: SharedAccount, lesson: Lesson) -> None:
        stands = await self._mail.insist(lambda: self._mail.store.teach(lesson))
        if account.heed(stands, self._mail.ahead, self._clock()):
            self._drain()

    # -- hearing -------------------------------------------------------------------------------------------------------

    def look(self, names: Iterable[str]) -> None:
        """Something has changed about these accounts."""
        if wanted := tuple(sorted(names)):
            self._mail.start(self._look(wanted))

    async def _look(self, names: tuple[str, ...]) -> None:
        pages = await self._mail.insist(lambda: self._mail.store.look(names))
        accounts = self.accounts()
        for page in pages:
            if (account := accounts.get(page.name)) is not None:
                self._adopt(account, page)
        self._drain()

    def _adopt(self, account: SharedAccount, page: Page) -> None:
        now = self._clock()
        account.known_epoch = max(account.known_epoch, page.epoch)
        until = self._mail.local(page.until)
        if page.until and until > max(account.cooldown.until, now):
            kind, quota, hinted = json.loads(page.note)
            incident = account.cooldown.hear(Outcome(kind=Kind(kind), quota=quota), until, now, hinted=hinted)
            if incident is not None:
                self._incidents[account.name] = incident
                account.rebuild()
                self._closed(account, incident)
        for lesson in page.lessons:
            account.heed(lesson, self._mail.ahead, now)
