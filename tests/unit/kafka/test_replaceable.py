"""Clients that are replaced when no broker answers them."""

import gc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from dynatomic.errors import ConfigError, DynatomicError
from dynatomic.kafka.replaceable import ReplaceableClient, answered
from dynatomic.kafka.topic_identity import RETRY_S, TopicIdCheck, topic_id_source
from dynatomic.service.end_offsets import end_offset_source
from tests.support.clients import TOPIC, Clock
from tests.support.waiting import wait_until

NOBODY = KafkaException(KafkaError(KafkaError._TIMED_OUT))
REFUSED = KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
LACKS = KafkaException(KafkaError(KafkaError._UNSUPPORTED_FEATURE))
NO_LEADER = KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
ENDED = [(NOBODY, True), (OSError("odd"), True), (REFUSED, False), (LACKS, False), (None, False)]


class Client:
    """An admin client and a consumer that answers with what it is given, raised if an error."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked = 0

    def list_topics(self, _topic: str, **_: float) -> SimpleNamespace:
        self.asked += 1
        if (answer := self.answers.pop(0)) is not None:
            raise cast("Exception", answer)
        return SimpleNamespace(topics={})

    def get_watermark_offsets(self, _place: object, **_: float) -> tuple[int, int]:
        self.list_topics("")
        return 0, 7

    def describe_topics(self, _topics: object, **_: float) -> dict[str, Future[Any]]:
        answer: Future[Any] = Future()
        found = self.answers.pop(0)
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)
        return {TOPIC: answer}


class Maker:
    """Makes a client each time; ``made`` counts, ``next`` gives its answers or what is raised."""

    def __init__(self, *outcomes: object) -> None:
        self.outcomes = list(outcomes)
        self.made = 0

    def __call__(self) -> Any:
        self.made += 1
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.mark.parametrize(("error", "renewed"), ENDED)
def test_only_librdkafkas_own_errors_say_that_no_broker_answered(
    error: Exception | None, *, renewed: bool
) -> None:
    assert answered(error) is not renewed


def test_a_client_that_is_given_up_ends() -> None:
    kept = ReplaceableClient(Client)
    ends = weakref.ref(kept.get())
    kept.discard()
    kept.discard()
    assert kept.current is None
    wait_until(lambda: ends() is None, "the client is gone")
    assert kept.get() is kept.current


def with_id(low: int) -> Any:
    class Uuid:
        get_most_significant_bits = staticmethod(lambda: 0)
        get_least_significant_bits = staticmethod(lambda: low)

    return type("Described", (), {"topic_id": Uuid})


def identity_of(make: Callable[[], Any], clock: Clock) -> TopicIdCheck:
    return TopicIdCheck(
        TOPIC, f"{7:032x}", topic_id_source(ReplaceableClient(make, clock), TOPIC), clock
    )


def test_the_id_is_asked_by_another_client_after_one_without_brokers() -> None:
    clock = Clock()
    make = Maker(Client(NOBODY), Client(REFUSED, with_id(7)))
    identity = identity_of(make, clock)
    ticket = identity.check_number()
    for trouble, made in (("_TIMED_OUT", 1), ("TOPIC_AUTHORIZATION_FAILED", 2), (None, 2)):
        identity.poll(lambda _: None)
        assert (identity.last_error, make.made) == (trouble, made)
        assert identity.confirmed(ticket) is (trouble is None)
        clock.advance(RETRY_S)


def test_the_id_waits_for_a_client_that_cannot_be_made_yet() -> None:
    clock = Clock()
    make = Maker(Client(NOBODY), ConfigError("no credentials"), Client(with_id(7)))
    identity = identity_of(make, clock)
    ticket = identity.check_number()
    for trouble, made in (("_TIMED_OUT", 1), *[("no credentials", 2)] * 2, (None, 3)):
        identity.poll(lambda _: None)
        assert (identity.last_error, make.made) == (trouble, made)
        clock.advance(RETRY_S)
    assert identity.confirmed(ticket)


def test_another_id_still_ends_the_worker() -> None:
    identity = identity_of(Maker(Client(with_id(8))), Clock())
    identity.check_number()
    with pytest.raises(DynatomicError, match="deleted and created again"):
        identity.poll(lambda _: None)


@pytest.fixture
def _no_collector() -> Iterator[None]:
    """Stop the collector of cycles: in a running consumer it has next to nothing to do."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize(("error", "renewed"), ENDED)
@pytest.mark.parametrize("numbers", [(), (0, 1)])
def test_the_ends_are_asked_by_another_client_after_one_without_brokers(
    numbers: tuple[int, ...], error: Exception | None, *, renewed: bool
) -> None:
    make = Maker(Client(*[error] * max(1, len(numbers))), Client(None, None))
    kept = ReplaceableClient[Any](make)
    client = weakref.ref(kept.get())
    ask = end_offset_source(kept, TOPIC)
    first = ask(numbers)
    assert set(first) == set(numbers or (-1,))
    for answer in first.values():
        assert answer.exception(5) is error
    if renewed:
        wait_until(lambda: kept.current is None, "the first client is given up")
        wait_until(lambda: client() is None, "it is gone, without the collector")
        answers = ask(numbers)
        assert {n: a.result(5) for n, a in answers.items()} == dict.fromkeys(numbers, 7) or {-1: -1}
    assert make.made == 1 + renewed


@pytest.mark.parametrize(
    ("answers", "heard"),
    [
        ([NO_LEADER, None, NO_LEADER, None], True),
        ([NO_LEADER, NOBODY, NO_LEADER, NOBODY], False),
        ([NOBODY, None], True),
        ([None, NOBODY], True),
        ([NOBODY, NOBODY], False),
    ],
)
def test_the_client_of_the_ends_stays_while_any_answer_comes_from_a_broker(
    answers: list[Exception | None], *, heard: bool
) -> None:
    """What librdkafka says of a partition it may know from before, so the brokers are asked."""
    client = Client(*answers)
    kept = ReplaceableClient(lambda: client)
    for answer in end_offset_source(kept, TOPIC)((0, 1)).values():
        assert answered(answer.exception(5)) or not heard or None in answers[:2]
    assert client.asked == len(answers)
    assert (kept.current is client) is heard
