"""Steps of the model: producers, members of the group, requests."""

from contextlib import suppress

from confluent_kafka import KafkaError

from dynatomic.errors import ConfigError, DynatomicError
from dynatomic.events.row import Row
from dynatomic.events.schema import encode
from tests.support.clients import TOPIC
from tests.support.model_base import ModelBase
from tests.support.model_checks import LARGE_KEY, MAX_STRICT_INCR, TABLES
from tests.support.model_members import SteppedMember

ITEMS = [("hits", key) for key in ("a", "b", "c", "s", "f", LARGE_KEY)] + [("slow", "a")]
COUNTERS = (None, "hits", "bytes")
MAX_INCR = 2**63 - 1
UNITS = (1, 0, -1, 7, -5, 2**40)
ADVANCES = (0.05, 0.3, 1.0, 3.0, 11.0, 61.0)
MOST_MEMBERS, MOST_PARTITIONS, MOST_EVENTS = 4, 3, 400
OTHER_KEYS = ({"id": "S"}, {"pk": "N"}, {"pk": "S", "rk": "S"})
"""Keys that refuse every request for an item with the hash key ``pk`` alone."""
UNKNOWN = (KafkaError.NOT_COORDINATOR, KafkaError.REBALANCE_IN_PROGRESS, KafkaError._TIMED_OUT)


class ClientSteps(ModelBase):
    """What happens to the clients; each step is a method that takes small numbers."""

    # The producers.

    def emit(self, partition: int, item: int, counter: int, unit: int) -> None:
        """An event."""
        if self.world.events >= MOST_EVENTS:
            return
        table, key = self._of(ITEMS, item)
        name = self._of(COUNTERS, counter)
        incr = self._of(UNITS, unit)
        if not self.once:
            incr = abs(incr)
        if key == LARGE_KEY:
            incr = abs(incr) % 10  # the large increments stay readable in the sum
        if key == "f" and name is None:
            incr = 10 * (1 + abs(incr))  # any sum of these has 39 digits
        self.world.send(partition % self.partitions, Row(table, key, counter=name, incr=incr))

    def emit_large(self, partition: int, counter: int) -> None:
        """An event that members with strict settings reject."""
        self.world.send_large(partition % self.partitions, self._of(COUNTERS, counter))

    def emit_some(self, partition: int, seed: int) -> None:
        """Several events of one partition."""
        for _ in range(2 + seed % 5):
            seed, digits = divmod(seed, 108)
            self.emit(partition, digits % 6, digits // 6 % 3, digits // 18)

    def emit_bad(self, partition: int) -> None:
        """An event that cannot be read."""
        self.world.send(partition % self.partitions, None)

    def emit_gap(self, partition: int, count: int) -> None:
        """Offsets without an event, as transactions leave them."""
        self.broker.append_gap(TOPIC, partition % self.partitions, 1 + count % 4)

    def open_transaction(self, partition: int, aborted: int) -> None:
        """A transaction begins with an event; later events of others cannot be read meanwhile.

        The event of one that is aborted counts nowhere: the model does not know of it.
        """
        partition %= self.partitions
        log = self.broker.logs[TOPIC][partition]
        if log.transaction_start is not None or self.world.events >= MOST_EVENTS:
            return
        self.broker.open_transaction(TOPIC, partition)
        if aborted % 2:
            self.broker.append(TOPIC, partition, b"key", encode(Row("hits", "a")), [])
            self.aborted[partition] = log.high - 1
        else:
            self.world.send(partition, Row("hits", "a"))

    def end_transaction(self, partition: int) -> None:
        """The open transaction is committed or aborted."""
        partition %= self.partitions
        aborted = self.aborted.pop(partition, None)
        if self.broker.logs[TOPIC][partition].transaction_start is not None:
            self.broker.end_transaction(TOPIC, partition, [] if aborted is None else [aborted])

    # The members.

    def start(self, mode: int, small: int, requests: int) -> None:
        """A member joins at its first tick; not while a table has keys that it would accept."""
        if len(self.living) < MOST_MEMBERS and not self.world.kept_items:
            with suppress(ConfigError):  # a table with other keys cannot have the counters
                self.world.worker(
                    definition=self.world.definition,
                    processing_guarantee=self.guarantee,
                    write_mode=("batch", "batch", "single")[mode % 3],
                    window_ms=(100, 1_000)[small % 2],
                    window_max_events=(2_000, 24, 100)[small % 3],
                    max_requests=1 + requests % 3,
                    shutdown_timeout_ms=1_000,
                    max_incr=MAX_STRICT_INCR if self.is_strict else MAX_INCR,
                )

    def change_settings(self) -> None:
        """Members that start from now on have other settings: they reject large increments."""
        self.is_strict = not self.is_strict

    def tick(self, who: int) -> None:
        """One member ticks, and its requests are sent."""
        member = self._of([m for m in self.living if not m.stopped], who)
        if member is not None:
            self._turn(member)

    def _turn(self, member: SteppedMember) -> None:
        try:
            member.turn()
        except DynatomicError:  # the topic was made again: a supervisor restarts it
            member.end()
            member.worker.close()

    def progress(self, times: int) -> None:
        """All members that are not stopped tick, some time later each time."""
        for _ in range(1 + times % 4):
            for member in self.living:
                if not member.stopped:
                    self._turn(member)
            self.clock.advance(0.4)

    def work(self, who: int) -> None:
        """The writer of a member sends, while its loop does not tick."""
        member = self._of([m for m in self.living if not m.stopped], who)
        if member is not None:
            member.quiet()

    def kill(self, who: int) -> None:
        """SIGKILL."""
        member = self._of(self.living, who)
        if member is not None:
            member.kill()

    def expire(self, who: int) -> None:
        """The group removes a member, which does not know it yet and continues."""
        member = self._of(self.living, who)
        if member is not None:
            member.expire()

    def stop(self, who: int) -> None:
        """SIGSTOP; the group drops it."""
        member = self._of(self.living, who)
        if member is not None:
            member.stopped = True
            member.expire()

    def wake(self, who: int) -> None:
        """SIGCONT."""
        member = self._of([m for m in self.living if m.stopped], who)
        if member is not None:
            member.stopped = False

    def shut_down(self, who: int) -> None:
        """SIGTERM."""
        member = self._of([m for m in self.living if not m.stopped], who)
        if member is not None:
            with suppress(DynatomicError):
                member.worker.shut_down()
            member.end()

    # The clock and the table.

    def advance(self, by: int) -> None:
        """Time passes."""
        self.clock.advance(self._of(ADVANCES, by))

    def trouble(self, kind: int, skip: int, mask: int) -> None:
        """Something goes wrong with one of the next requests."""
        some = 1 + mask % 31
        orders = (
            *("hold", "hold answer", "lose", "drop", "throttle"),
            ("ThrottlingError", False, some),
            ("InternalServerError", False, some),
            ("InternalServerError", True, some),
            ("TransactionConflict", False, some),
        )
        if len(self.world.orders) < 8:
            self.world.orders.extend(["pass"] * (skip % 3) + [self._of(orders, kind)])

    def land(self, which: int) -> None:
        """A request that was held arrives."""
        if self.world.on_the_way:
            writer, task = self.world.on_the_way.pop(which % len(self.world.on_the_way))
            writer.land(task)

    def answer(self, which: int) -> None:
        """An answer that was held arrives."""
        if self.world.unanswered:
            held = self.world.unanswered.pop(which % len(self.world.unanswered))
            held[0].take_answer(*held[1:])

    def again(self, which: int) -> None:
        """A request that was sent, or dropped, arrives a second time, much later."""
        if self.world.requests:
            request = self.world.requests[-1 - which % len(self.world.requests)]
            with suppress(Exception):  # the answer is lost
                self.world.dynamodb.apply(request)

    def deny(self, table: int) -> None:
        """A table is denied."""
        self.world.denied.add(self._of(TABLES, table))

    def change_keys(self, table: int, kind: int) -> None:
        """A table is made again with other keys while members run, until it is mended."""
        name = self._of(TABLES, table)
        if name not in self.world.kept_items:
            self.world.change_keys(name, self._of(OTHER_KEYS, kind))

    def mend(self) -> None:
        """All that was denied, held or down is mended, and transactions end."""
        self.world.denied.clear()
        self.world.restore_keys()
        for partition in range(self.partitions):
            self.end_transaction(partition)
        world = self.world
        world.deliveries_held = world.letters_held = False
        world.topic_id_held = world.lookups_held = False
        world.commit_raises = None
        faults = self.broker.faults
        faults.down = faults.answers_held = False
        faults.commits.clear()
        faults.deliveries.clear()
