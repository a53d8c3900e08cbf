"""The book of a shared store: who may spend what, when, decided in whole microseconds over pages that somebody keeps.

This is the decision that `selection`, `account` and `bucket` take in one process, with what several processes need:

- Whoever cannot be served at once is *booked*: charged now, for the instant at which the quota will be back. Nobody
  asks twice for one lease, nobody polls, and processes are served in the order in which they asked.
- Whatever comes back before it was expected is offered to whoever asked for it first, and to nobody else.
- A lease expires unless it is renewed: what a process that died had in flight comes back. What it spent does not.
- After a cooldown there is one probe for all processes; the next call waits for its verdict.
- An account of which nothing is known is empty, not full, as of the instant at which the store was begun.

`admit.lua` says the same in the language of Redis; one contract suite and one state machine drive both.

What it does badly: a booking is moved up only when something was given back, not when a limit grows.
"""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import replace

from ratelimit_router.stores.gauges import Calendar, Continuous, Window
from ratelimit_router.stores.pages import COOLED, OPEN, PROBING, Account, Pages
from ratelimit_router.stores.terms import (
    NEVER,
    NOTHING,
    Amounts,
    Answer,
    Ask,
    Change,
    Denial,
    End,
    Grant,
    Incident,
    Kind,
    Lesson,
    Offer,
    Page,
    Ration,
    Record,
    Terms,
    Want,
    Why,
)

__all__ = ["Book"]

PLACE, VERDICT = 4, 5
"""What one can lack besides an amount of a unit (0 to 3): a place among the calls in flight, a verdict on a probe."""

EVERYTHING = frozenset(range(6))

FURTHEST = 120_000_000
"""No booking is further ahead: whoever has to wait longer asks again."""
GRACE = 15_000_000
"""How long after a store has begun a limit of calls in flight waits for processes to tell of theirs."""
SWEEPS = 16
"""How often in the period of its longest window the charges of an account are forgotten that it needs no more."""
REMEMBERED = 600_000_000
"""How long after its expiry a lease is remembered at the least: its end may be reported late."""


class Book:
    """One act at `now`: call one of its methods, once, and keep what `change` says for everybody to know."""

    def __init__(self, pages: Pages, now: int):
        self._pages, self._now = pages, now
        self._accounts: dict[str, Account] = {}  # those that this act has looked at
        self._changed: set[str] = set()
        self._asked: set[str] = set()  # those that it had a gauge made for every ration of
        self._told: dict[str, None] = {}
        self._back: list[tuple[str, frozenset[int]]] = []  # what came back to which account, event by event
        self._kept: dict[str, dict[str, Continuous]] = {}  # as it was before a booking was given up
        self._asker = ""
        self._wake: dict[str, None] = {}

    # -- asking --------------------------------------------------------------------------------------------------------

    def admit(self, ask: Ask) -> Answer:
        """Serve the first of the wants that can be, in order, and book the next. See `Ask` and `Answer`."""
        now = self._now
        offers = [offer for step in ask.steps for offer in step]
        terms = {one.name: one for offer in offers for one in offer.accounts}
        if any(_is_stale(ration, now) for one in terms.values() for ration in one.rations):
            return Answer(now=now, stale=True)
        self._expire()
        self._end_all(ask.ends)
        given_up = self._give_up(ask.instead)
        if not ask.wants:
            return self._leave(ask.line, terms)
        grants: list[Grant] = []
        found: list[Denial] = []
        served = True
        for want in ask.wants:
            known = self._pages.lease(want.lease)
            if known is not None and (known.ended or known.at <= now):
                if not known.ended:
                    grants.append(_again(known, offers))
                continue
            found, index = self._look_around(ask.steps, want.cost, everywhere=known is not None)
            if known is not None:  # a booking: it stays the last, and in line
                grants.append(_again(known, offers))
                served = False
                break
            at = found[index].at
            served = at <= now
            if given_up is not None and (same := self._same_place(given_up, want, offers, at, grants)) is not None:
                grants.append(self._grant(ask, want, same, offers[same], given_up.at))
                for name, continuous in self._kept.items():
                    self._account(name).continuous = continuous
                break
            if served or (at - now <= min(want.within, FURTHEST) and self._is_bookable(offers[index], at)):
                grants.append(self._grant(ask, want, index, offers[index], max(at, now)))
            if not served:
                break
            found = found[:index]
        for name in terms if ask.waits else ():
            self._account(name)
        self._stand_in_line(ask.line, {} if served else _lacking(found, terms))
        if given_up is not None and (not grants or grants[-1].at < given_up.at):
            for name in given_up.accounts:  # its place is free for somebody else; the same place again would be no news
                self._came_back(name, given_up.cost, place=True)
        self._finish()
        return Answer(now=now, grants=tuple(grants), denials=tuple(found))

    def _leave(self, line: str, accounts: Iterable[str]) -> Answer:
        """Nobody waits in a line any more: what it was to have, or was woken for, is offered to the next."""
        for name in accounts:
            self._account(name).waiting.pop(line, None)
            self._back.append((name, EVERYTHING))
            self._changed.add(name)
        self._finish()
        return Answer(now=self._now)

    def _give_up(self, lease: str) -> Record | None:
        """Give a booking back, to ask for a better one, and wake nobody yet. What it was."""
        record = self._pages.lease(lease) if lease else None
        if record is None or record.ended or record.at <= self._now:
            return None
        # A continuous gauge is one instant: it could not tell a place between others that are booked from one behind.
        self._kept = {name: deepcopy(self._account(name).continuous) for name in record.accounts}
        before, self._back = self._back, []
        cost = record.cost
        self._end(record, NOTHING, answered=True)
        self._back = before
        return replace(record, cost=cost)

    def _same_place(
        self, given_up: Record, want: Want, offers: Sequence[Offer], at: int, grants: Iterable[Grant]
    ) -> int | None:
        """The offer that was booked before, if that was better: a line that finds nothing better keeps its place, for
        the next if the first was served elsewhere: it would have to go behind everybody who has booked since.
        """
        if given_up.cost != want.cost or not given_up.at < min(at, self._now + want.within):
            return None
        names = [tuple(terms.name for terms in offer.accounts) for offer in offers]
        if given_up.accounts not in names or not all(
            set(names[grant.offer]).isdisjoint(given_up.accounts) for grant in grants
        ):
            return None
        index = names.index(given_up.accounts)
        return index if self._is_bookable(offers[index], given_up.at) else None

    def _look_around(
        self, steps: Sequence[Sequence[Offer]], cost: Amounts, *, everywhere: bool
    ) -> tuple[list[Denial], int]:
        """When each offer can be had, up to the first step that is free; and which one to take: of equals that are free
        the one with the most headroom; where nothing is free, whichever is next. `everywhere`: even if a step is free.

        An account is only looked at if it has to be: mostly the first step is free.
        """
        found: list[Denial] = []
        for step in steps:
            free = []
            for offer in step:
                denial = self._when(offer, cost)
                if denial.at <= self._now:
                    free.append((offer, len(found)))
                found.append(denial)
            if free and not everywhere:
                return found, min((*self._used(offer), index) for offer, index in free)[-1] if free[1:] else free[0][1]
        return found, min(range(len(found)), key=lambda index: found[index].at)

    def _when(self, offer: Offer, cost: Amounts) -> Denial:
        """When a call may start here, and what it waits for until then (nothing, if that is `now`)."""
        return max((self._when_alone(terms, cost) for terms in offer.accounts), key=lambda one: one.at)

    def _when_alone(self, terms: Terms, cost: Amounts) -> Denial:
        if terms.name not in self._asked:
            self._catch_up(terms)
        account, name = self._account(terms.name), terms.name
        if terms.concurrency and account.running >= terms.concurrency:
            return Denial(at=NEVER, why=Why.CONCURRENCY, account=name, quota="concurrency")
        latest = Denial(at=self._now, why=Why.QUOTA, account=name)
        if terms.concurrency and account.born:  # whoever has calls in flight may not have said so yet
            latest = Denial(at=max(account.born + GRACE, self._now), why=Why.CONCURRENCY, account=name)
        if account.state != OPEN and account.until > latest.at:
            latest = Denial(at=account.until, why=Why.COOLING if account.state == COOLED else Why.PROBING, account=name)
        for ration in terms.rations:
            amount, (_, capacity, ceiling) = cost[ration.unit], _limits(account, ration)
            if amount > ceiling:
                return Denial(at=NEVER, why=Why.TOO_LARGE, account=name, quota=ration.name)
            at = self._free_at(account, name, ration, min(amount, capacity)) if amount else self._now
            if at > latest.at:
                latest = Denial(at=at, why=Why.QUOTA, account=name, quota=ration.name)
        return latest

    def _free_at(self, account: Account, name: str, ration: Ration, amount: int) -> int:
        """The earliest instant at which so much of a quota is there."""
        now, (rate, capacity, _) = self._now, _limits(account, ration)
        if rate <= 0 or capacity <= 0:
            return NEVER
        if ration.kind is Kind.CONTINUOUS:
            return account.continuous[ration.name].when(amount, capacity, ration.guard, now)
        if ration.kind is Kind.CALENDAR:
            calendar = account.calendars[ration.name]
            return now if calendar.used + amount <= capacity else calendar.closes + ration.guard
        period = ration.period + ration.guard
        window = account.windows[period]
        free = max(account.born + period if account.born else now, now)
        missing = window.used[ration.unit] + amount - capacity
        if missing > 0:
            for at, _, cost in self._pages.charges(name, window.tail):
                missing -= cost[ration.unit]
                if missing <= 0:
                    return max(at + period, free)
        return free

    def _used(self, offer: Offer) -> tuple[float, int]:
        """The share of its tightest limit that is used, and when it was chosen last."""
        most = 0.0
        for terms in offer.accounts:
            account = self._account(terms.name)
            shares = [self._share(account, ration) for ration in terms.rations]
            if terms.concurrency:
                shares.append(account.running / terms.concurrency)
            most = max(most, *shares) if shares else most
        return most, self._account(offer.accounts[0].name).last

    def _share(self, account: Account, ration: Ration) -> float:
        rate, capacity, _ = _limits(account, ration)
        if rate <= 0 or capacity <= 0:
            return 1.0
        if ration.kind is Kind.CONTINUOUS:
            one = account.continuous[ration.name]
            return max(one.full_at - self._now, 0) / one.interval / capacity
        if ration.kind is Kind.CALENDAR:
            return account.calendars[ration.name].used / capacity
        return account.windows[ration.period + ration.guard].used[ration.unit] / capacity

    def _is_bookable(self, offer: Offer, at: int) -> bool:
        """Whether what is known now still holds at that instant: no reset lies between, no verdict is awaited."""
        if any(self._account(terms.name).state == PROBING for terms in offer.accounts):
            return False
        return all(
            at < self._account(terms.name).calendars[ration.name].closes
            for terms in offer.accounts
            for ration in terms.rations
            if ration.kind is Kind.CALENDAR
        )

    def _stand_in_line(self, line: str, lacking: dict[str, int]) -> None:
        """Whoever was not served is woken when what they lack comes back, in the order in which they asked first."""
        for name, account in self._accounts.items():
            if account.waiting.get(line) != (lacks := lacking.get(name)):
                if lacks is None:
                    del account.waiting[line]
                else:
                    account.waiting[line] = lacks
                self._changed.add(name)
        self._asker = line

    # -- charging ------------------------------------------------------------------------------------------------------

    def _grant(self, ask: Ask, want: Want, index: int, offer: Offer, at: int) -> Grant:
        names = tuple(terms.name for terms in offer.accounts)
        epochs = tuple(self._account(name).epoch for name in names)
        record = Record(
            lease=want.lease,
            line=ask.line,
            accounts=names,
            epochs=epochs,
            at=at,
            cost=want.cost,
            expires=at + ask.lasts,
        )
        self._charge(record)
        for name in names:
            account = self._account(name)
            if account.state != OPEN:
                account.state, account.until = PROBING, at + account.verdict
        return Grant(lease=want.lease, offer=index, at=at, epochs=epochs)

    def _charge(self, record: Record) -> None:
        for name in record.accounts:
            account = self._account(name)
            self._pages.charge(name, record.at, record.lease, record.cost)
            for gauge in account.gauges:
                gauge.spend(record.cost, record.at)
            account.last = max(account.last, record.at)
            account.running += record.running
            self._changed.add(name)
        self._keep(record)

    def _keep(self, record: Record) -> None:
        longest = max((period for name in record.accounts for period in self._account(name).windows), default=0)
        self._pages.keep(record, record.expires + max(longest, REMEMBERED))

    def _catch_up(self, terms: Terms) -> None:
        """Have a gauge for every ration, as it is at `now`."""
        account, now = self._account(terms.name), self._now
        self._asked.add(terms.name)
        if account.state == PROBING and account.until <= now and account.silence:
            account.state, account.until = OPEN, 0  # nothing was heard of the probe: it was accepted
        for ration in terms.rations:
            rate, capacity, _ = _limits(account, ration)
            if ration.kind is Kind.ROLLING:
                self._turn(account, terms.name, ration.period + ration.guard)
            elif ration.kind is Kind.CALENDAR:
                calendar = account.calendars.get(ration.name)
                if calendar is None:
                    spent = ration.ceiling if account.lost and account.born >= ration.opens else 0
                    calendar = Calendar(ration.unit, ration.opens, ration.closes, ration.guard, used=spent)
                    account.calendars[ration.name] = calendar
                    self._changed.add(terms.name)
                    self._replay(terms.name, calendar, account.born if spent else ration.opens - 1)
                calendar.turn(ration, now)
            elif rate > 0:
                interval = ration.period / rate
                one = account.continuous.get(ration.name)
                if one is None:
                    full_at = account.born + int(capacity * interval) + 1 if account.born else 0
                    one = account.continuous[ration.name] = Continuous(ration.unit, interval, full_at)
                    self._changed.add(terms.name)
                    self._replay(terms.name, one, account.born)
                one.refit(interval, now)

    def _replay(self, name: str, gauge: Continuous | Calendar, after: int) -> None:
        """Tell a new gauge what is still kept of the charges after that instant."""
        for at, _, cost in self._pages.charges(name, after):
            gauge.spend(cost, at)

    def _turn(self, account: Account, name: str, period: int) -> None:
        """Take out of a window what is back."""
        window, back = account.windows.get(period), self._now - period
        if window is None:
            window = account.windows[period] = Window(tail=back)
            self._changed.add(name)
            for at, _, cost in self._pages.charges(name, back):
                window.spend(cost, at)
        elif window.next <= back:
            following = NEVER
            for at, _, cost in self._pages.charges(name, window.tail):
                if at > back:
                    following = at
                    break
                window.used = [used - amount for used, amount in zip(window.used, cost, strict=True)]
            window.tail, window.next = back, following
        window.seen = self._now

    # -- afterwards ----------------------------------------------------------------------------------------------------

    def end(self, ends: Iterable[End]) -> None:
        """Calls are over. A lease that is not known, or was ended before, is left alone."""
        self._end_all(ends)
        self._finish()

    def _end_all(self, ends: Iterable[End]) -> None:
        for one in ends:
            record = self._pages.lease(one.lease)
            if record is None or record.ended:
                continue
            self._end(record, record.cost if one.cost is None else one.cost, answered=one.answered)

    def _end(self, record: Record, cost: Amounts, *, answered: bool) -> None:
        """Replace what a lease was charged by what it really cost, and free its place."""
        for name, epoch in zip(record.accounts, record.epochs, strict=True):
            account = self._account(name)
            if account.state == PROBING and account.epoch == epoch:
                self._judge(name, account, record, None if cost == NOTHING else answered)
            account.running -= record.running
            back = self._correct(name, account, record, cost) if cost != record.cost else NOTHING
            self._came_back(name, back, place=record.running)
            self._changed.add(name)
        record.cost, record.running, record.ended = cost, False, True
        self._keep(record)

    def _judge(self, name: str, account: Account, record: Record, answered: bool | None) -> None:
        """A call ended that may have been the probe (None: it was never made)."""
        if answered is None:
            account.state, account.until = COOLED, min(account.until, max(self._now, record.at))
        elif answered:
            account.state, account.until = OPEN, 0
            self._tell(name)
        if answered is not False:
            self._back += [(name, frozenset({VERDICT}))] * len(account.waiting)

    def _correct(self, name: str, account: Account, record: Record, cost: Amounts) -> Amounts:
        """What came back."""
        requests, inputs, outputs, total = (new - old for new, old in zip(cost, record.cost, strict=True))
        for gauge in account.gauges:
            gauge.correct((requests, inputs, outputs, total), record.at)
        if cost == NOTHING:
            self._pages.discharge(name, record.at, record.lease)
        else:
            self._pages.recharge(name, record.at, record.lease, cost)
        return (-requests, -inputs, -outputs, -total)

    def _came_back(self, name: str, back: Amounts, *, place: bool) -> None:
        """So much of every unit, and a place among the calls in flight."""
        units = {unit for unit, amount in enumerate(back) if amount > 0}
        self._back.append((name, frozenset(units | {PLACE} if place else units)))

    def _offer(self, name: str, back: frozenset[int]) -> None:
        """Whoever asked first of those who lack what came back is to ask again, and stands in line again then."""
        waiting = self._account(name).waiting
        for line, lacks in waiting.items():
            if lacks in back and line != self._asker:
                del waiting[line]
                self._wake[line] = None
                self._changed.add(name)
                return

    def _expire(self) -> None:
        """What a process that died had in flight is in flight no more. What it spent stays spent."""
        for record in self._pages.overdue(self._now):
            for name in record.accounts:
                self._account(name).running -= 1
                self._came_back(name, NOTHING, place=True)
                self._changed.add(name)
            record.running = False
            self._keep(record)

    def renew(self, leases: Iterable[str], lasts: int) -> tuple[str, ...]:
        """Calls are still in flight. Those that are not known (any more) are returned: they have to be restated."""
        lost = []
        for lease in leases:
            record = self._pages.lease(lease)
            if record is None:
                lost.append(lease)
            elif not record.ended:
                self._run(record, lasts)
        self._expire()
        self._finish()
        return tuple(lost)

    def _run(self, record: Record, lasts: int) -> None:
        for name in record.accounts if not record.running else ():  # it had expired, too early
            self._account(name).running += 1
            self._changed.add(name)
        record.running, record.expires = True, max(self._now, record.at) + lasts
        self._keep(record)

    def restate(self, records: Iterable[Record]) -> None:
        """Leases that this store may have lost, or was never told of: those that it does not know are charged."""
        for record in records:
            if self._pages.lease(record.lease) is not None:
                continue
            for name in record.accounts:
                account = self._account(name)
                self._pages.charge(name, record.at, record.lease, record.cost)
                for gauge in account.gauges:
                    gauge.correct(record.cost, record.at)
                account.running += record.running
                self._changed.add(name)
            self._keep(record)
        self._finish()

    # -- cooldowns, and what was learned -------------------------------------------------------------------------------

    def cool(self, found: Incident) -> Page:
        """A call was rejected. The account as it is now: others may have reported the same incident before."""
        account = self._account(found.account)
        until = min(self._now + found.lasts, NEVER)
        if found.epoch >= account.epoch:  # later: this store has forgotten a cooldown
            account.epoch = found.epoch + 1
            account.until = max(account.until, until) if account.state == COOLED else until
        elif found.extends and account.state != OPEN and until > account.until:
            account.until = until
        else:
            return self._page(found.account)
        account.state, account.verdict, account.silence, account.note = COOLED, found.verdict, found.silence, found.note
        self._cancel_booked(found.account)
        self._tell(found.account)
        self._finish()
        return self._page(found.account)

    def _cancel_booked(self, name: str) -> None:
        """Whoever was to call a closed account has to ask again."""
        for _, lease, _ in list(self._pages.charges(name, self._now)):
            record = self._pages.lease(lease)
            if record is not None and record.running:
                self._end(record, NOTHING, answered=False)
                self._wake[record.line] = None

    def reopen(self, names: Iterable[str]) -> None:
        """The operator has changed something: a closed account is tried again, with a probe."""
        for name in names:
            account = self._account(name)
            if account.state != OPEN:
                account.state, account.until = COOLED, self._now
                self._tell(name)
        self._finish()

    def teach(self, lesson: Lesson) -> Lesson:
        """What was learned of a quota. The lesson that stands: another one, if that came first."""
        account = self._account(lesson.account)
        known = account.lessons.get(lesson.quota)
        if known is not None and known.version != lesson.version:
            return known
        stands = account.lessons[lesson.quota] = replace(lesson, version=lesson.version + 1)
        self._tell(lesson.account)
        self._finish()
        return stands

    def look(self, names: Iterable[str]) -> tuple[Page, ...]:
        """What is known of these accounts. Nothing changes."""
        return tuple(self._page(name) for name in names)

    def _page(self, name: str) -> Page:
        account = self._account(name)
        return Page(
            name=name,
            now=self._now,
            epoch=account.epoch,
            until=account.until if account.state == COOLED else 0,
            note=account.note,
            running=account.running,
            charges=tuple((at, cost) for at, _, cost in self._pages.charges(name, 0)),
            continuous=tuple((quota, one.full_at) for quota, one in account.continuous.items()),
            calendar=tuple((quota, one.opens, one.used) for quota, one in account.calendars.items()),
            lessons=tuple(account.lessons.values()),
        )

    # -- the rest ------------------------------------------------------------------------------------------------------

    @property
    def change(self) -> Change:
        """What others should know of this act."""
        return Change(wake=tuple(self._wake), accounts=tuple(self._told))

    def _account(self, name: str) -> Account:
        if (account := self._accounts.get(name)) is None:
            account = self._accounts[name] = self._pages.account(name)
        return account

    def _tell(self, name: str) -> None:
        self._told[name] = None
        self._changed.add(name)

    def _finish(self) -> None:
        for name, back in self._back:
            self._offer(name, back)
        for name in sorted(self._changed):
            account = self._accounts[name]
            if name in self._asked:
                self._forget(name, account)
            self._pages.put(name, account)

    def _forget(self, name: str, account: Account) -> None:
        """No router has asked for this window for a whole period; no window needs these charges."""
        for period in [one for one, window in account.windows.items() if window.seen + one < self._now]:
            del account.windows[period]
        longest = max(account.windows, default=0)
        if self._now - longest >= account.swept + longest // SWEEPS:
            account.swept = self._now - longest
            self._pages.forget(name, account.swept)


def _lacking(denials: Iterable[Denial], terms: dict[str, Terms]) -> dict[str, int]:
    """By account, what somebody lacks there who was not served."""
    lacking = {}
    for one in denials:
        if not one.quota and one.why is Why.QUOTA:
            continue  # it has become free since
        if one.why is Why.QUOTA:
            lacking[one.account] = next(
                ration.unit for ration in terms[one.account].rations if ration.name == one.quota
            )
        elif one.why is not Why.TOO_LARGE:
            lacking[one.account] = PLACE if one.why is Why.CONCURRENCY else VERDICT
    return lacking


def _is_stale(ration: Ration, now: int) -> bool:
    return ration.kind is Kind.CALENDAR and not ration.opens <= now < ration.closes


def _limits(account: Account, ration: Ration) -> tuple[int, int, int]:
    """Amount a period, capacity and ceiling: as the asker knows them, and as others have learned them."""
    lesson = account.lessons.get(ration.name)
    if lesson is None or not lesson.amount:
        return ration.amount, ration.capacity, ration.ceiling
    return min(ration.amount, lesson.amount), min(ration.capacity, lesson.capacity), ration.ceiling


def _again(record: Record, offers: Sequence[Offer]) -> Grant:
    """A lease that was granted before, to somebody who has not heard of it."""
    names = [tuple(terms.name for terms in offer.accounts) for offer in offers]
    index = names.index(record.accounts) if record.accounts in names else -1
    return Grant(lease=record.lease, offer=index, at=record.at, epochs=record.epochs)
