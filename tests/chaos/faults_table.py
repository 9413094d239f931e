"""Faults between the members and DynamoDB: lost, late, refused and damaged answers."""

import threading
from collections.abc import Callable
from random import Random
from typing import Final

from tests.chaos.kinds import fault
from tests.chaos.members import Member
from tests.chaos.round import Round
from tests.support.faults import (
    Delay,
    DropRequest,
    DropResponse,
    Error,
    FailStatements,
    Fault,
    Hold,
    Raw,
    Request,
    WrongChecksum,
    html,
    server_error,
    throttle,
)

READ_TIMEOUT_S: Final = 0.4
_SHORT: Final = f"read-timeout:{READ_TIMEOUT_S}"
_MOST: Final = 12
"""Faulty answers of one kind in a round: a table that never answers well is never left."""


def _often(
    round_: Round,
    random_: Random,
    make: Callable[[Request], Fault | None],
    share: float = 0.5,
    most: int = _MOST,
    seconds: float = 1.5,
) -> int:
    """Let a share of the writes meet a fault for a while; return how many did."""
    lock = threading.Lock()
    hits: list[Fault] = []

    def rule(_member: Member, request: Request) -> Fault | None:
        with lock:
            if len(hits) >= most or random_.random() >= share:
                return None
            made = make(request)
            if made is not None:
                hits.append(made)
            return made

    with round_.rule(rule):
        round_.until(lambda: len(hits) >= most, seconds)
        round_.until(lambda: bool(hits), 10)
    return len(hits)


@fault(3)
def response_lost(round_: Round, random_: Random) -> int:
    """The response is dropped after the request was applied."""
    return _often(round_, random_, lambda _: DropResponse())


@fault(3)
def request_lost(round_: Round, random_: Random) -> int:
    """The request is dropped before it is applied."""
    return _often(round_, random_, lambda _: DropRequest())


@fault(3, twist=_SHORT)
def late_answer(round_: Round, random_: Random) -> int:
    """Applied at once, answered after the read time-out: the retry comes before the answer."""
    return _often(round_, random_, lambda _: Delay(READ_TIMEOUT_S * random_.uniform(0.9, 2)))


@fault(3, twist=_SHORT)
def late_request(round_: Round, random_: Random) -> int:
    """Held in the proxy past the read time-out, and applied while the retry is or after it."""
    holds: list[Hold] = []

    def make(_request: Request) -> Fault:
        hold = Hold()
        holds.append(hold)
        timer = threading.Timer(READ_TIMEOUT_S * random_.uniform(0.9, 1.5), hold.release)
        timer.daemon = True
        timer.start()
        return hold

    return _often(round_, random_, make)


@fault(3, twist=_SHORT)
def request_held_past_windows(round_: Round, random_: Random) -> int:
    """Held in the proxy until later windows have been written, then applied."""
    holds: list[Hold] = []

    def make(_request: Request) -> Fault:
        holds.append(Hold())
        return holds[-1]

    hits = _often(round_, random_, make, share=0.2, most=4, seconds=1)
    round_.more(8, 5)
    for hold in holds:
        hold.release()
    return hits


@fault(4)
def server_errors(round_: Round, random_: Random) -> int:
    """500 and 503, and among them some whose request was applied."""

    def make(_request: Request) -> Fault:
        unavailable = Error("ServiceUnavailable", status=503)
        return random_.choice((server_error(), server_error(applied=True), unavailable))

    return _often(round_, random_, make)


@fault(4)
def throttled_requests(round_: Round, random_: Random) -> int:
    """Whole requests are throttled."""
    return _often(round_, random_, lambda _: throttle())


@fault(4)
def throttled_statements(round_: Round, random_: Random) -> int:
    """Single statements of a batch are throttled."""

    def make(request: Request) -> Fault | None:
        count = len(request.statements)
        wanted = random_.sample(range(count), random_.randint(1, count)) if count else []
        codes = ("ThrottlingError", "ProvisionedThroughputExceeded", "TransactionConflict")
        return FailStatements({i: random_.choice(codes) for i in wanted}) if wanted else throttle()

    return _often(round_, random_, make)


@fault(4)
def one_statement_fails(round_: Round, random_: Random) -> int:
    """One statement of a batch fails with an unknown outcome: applied or not."""

    def make(request: Request) -> Fault | None:
        if not request.statements:
            return server_error(applied=random_.random() < 0.5)
        index = random_.randrange(len(request.statements))
        applied = random_.random() < 0.5
        return FailStatements({index: "InternalServerError"}, applied=applied)

    return _often(round_, random_, make)


@fault(4)
def html_answers(round_: Round, random_: Random) -> int:
    """A 200 with HTML, applied or not."""

    def make(_request: Request) -> Fault:
        page = Raw(body=b"<html></html>", content_type="text/html", applied=True)
        return random_.choice((html(), page))

    return _often(round_, random_, make)


@fault(4)
def empty_answers(round_: Round, random_: Random) -> int:
    """A 200 with an empty body or an empty object, applied or not."""

    def make(_request: Request) -> Fault:
        applied = random_.random() < 0.5
        return Raw(body=random_.choice((b"", b"{}")), applied=applied)

    return _often(round_, random_, make)


@fault(4)
def wrong_checksum(round_: Round, random_: Random) -> int:
    """Applied, and answered with a checksum that is not the body's."""
    return _often(round_, random_, lambda _: WrongChecksum())


@fault(4)
def connection_refused(round_: Round, random_: Random) -> int:
    """Nobody listens for a second or two."""
    return _refuse(round_, random_.uniform(0.5, 2))


@fault(4, alone=True, long=True)
def connection_refused_30_s(round_: Round, random_: Random) -> int:
    """Nobody listens for 30 s."""
    return _refuse(round_, random_.uniform(30, 31))


def _refuse(round_: Round, seconds: float) -> int:
    round_.proxy.refuse()
    try:
        round_.pause(seconds)
    finally:
        round_.proxy.accept()
    round_.must_write()
    return 1


@fault(9)
def credentials_expire(round_: Round, random_: Random) -> int:
    """The token has expired, and is good again after a second."""
    expired = Error("ExpiredTokenException", message="The security token has expired")
    return _often(round_, random_, lambda _: expired, share=1, seconds=1)
