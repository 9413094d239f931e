"""The model's broker and tables: what goes wrong in them."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import local
from typing import Any

from botocore.exceptions import ReadTimeoutError

from dynatomic.errors import UnavailableError
from dynatomic.testing.dynamodb.batch import StatementFault
from dynatomic.testing.dynamodb.client import Request
from dynatomic.testing.dynamodb.responses import client_error
from dynatomic.worker.rereading import Reread
from tests.support.clients import TOPIC, WRITES, Recorder, written
from tests.support.model_checks import TABLES, ModelChecks
from tests.support.model_members import Asking, Stepped, SteppedMember, ThreadedMember


@dataclass
class ModelWorld(ModelChecks):
    """The world of the model, with faults for single requests."""

    threads: bool = False
    patient: bool = False
    orders: deque[Any] = field(default_factory=deque)
    on_the_way: list[tuple[Stepped, Any]] = field(default_factory=list)
    unanswered: list[tuple[Stepped, Any, Any]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    denied: set[str] = field(default_factory=set)
    lookups_held: bool = False
    _of_thread: local = field(default_factory=local)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.make_member = ThreadedMember
        if not self.threads:
            self.make_member = SteppedMember
            self.make_writer = lambda *args, **named: Stepped(self, *args, **named)
        self.dynamodb.faults.after = self._after
        self.dynamodb.faults.statement = self._fault_of_statement
        for name in TABLES:
            self.table(name)
        for item in (
            {"pk": {"S": "b"}, "count": {"N": "100"}, "note": {"S": "kept"}},
            {"pk": {"S": "c"}, "note": {"S": "no counter"}},
            {"pk": {"S": "s"}, "count": {"S": "many"}, "hits": {"N": "5"}},
            {"pk": {"S": "f"}, "count": {"N": "9" * 38}, "hits": {"N": "-3"}},
        ):
            self.dynamodb.put_item(TableName="hits", Item=item)
            for name, value in item.items():
                if "N" in value:
                    self.base["hits", item["pk"]["S"], name] = int(value["N"])

    # Tables that are made again.

    def change_keys(self, table: str, keys: Mapping[str, str]) -> None:
        """Make a table again with other keys; its items come back with `restore_keys`."""
        with self.dynamodb._lock:
            self.kept_items[table] = self.dynamodb.items(table)
            self.dynamodb.delete_table(TableName=table)
            self.make_table(table, **keys)

    def restore_keys(self) -> None:
        """Make the tables again with the keys and the items that they had."""
        with self.dynamodb._lock:
            for table, items in self.kept_items.items():
                assert self.dynamodb.items(table) == []
                self.dynamodb.delete_table(TableName=table)
                self.make_table(table)
                for item in items:
                    self.dynamodb.put_item(TableName=table, Item=item)
            self.kept_items.clear()

    # What goes wrong with a request.

    @property
    def order(self) -> Any:
        """What shall happen to the request of this thread."""
        return getattr(self._of_thread, "order", None)

    @order.setter
    def order(self, order: Any) -> None:
        self._of_thread.order = order

    def next_order(self) -> Any:
        """Return what shall happen to the request that is sent now."""
        try:
            return self.orders.popleft()
        except IndexError:
            return "pass"

    def _before(self, request: Request) -> Exception | None:
        if request.operation not in WRITES:
            return None
        self.requests.append(request)
        if self.threads:
            self.order = self.next_order()
        if written(request)[0] in self.denied:
            error = {"Error": {"Code": "AccessDeniedException", "Message": "denied"}}
            return client_error(error["Error"]["Code"], "denied", request.operation)
        if self.order in {"drop", "hold"}:
            return ReadTimeoutError(endpoint_url="memory://dynamodb")
        if self.order == "throttle":
            return client_error("ThrottlingException", "slow down", request.operation)
        return None

    def _after(self, request: Request, _response: Any) -> Exception | None:
        if request.operation in WRITES and self.order in {"lose", "hold answer"}:
            return ReadTimeoutError(endpoint_url="memory://dynamodb")
        return None

    def _fault_of_statement(self, _request: Request, index: int) -> StatementFault | None:
        if isinstance(self.order, tuple):
            code, applied, mask = self.order
            if mask >> (index % 5) & 1:
                return StatementFault(code, applied=applied)
        return None

    def read_again(self, _config: Any, number: int, wanted: Any) -> Reread:
        """Read messages a second time, or say that no broker is there."""
        if self.broker.faults.down:
            raise UnavailableError("no broker")
        log = self.broker.log(TOPIC, number)
        messages = {m.offset(): m for m in log.messages if m is not None} if log else {}
        # One at a time, so that every window is read again in slices.
        first = min(wanted)
        return Reread({first: messages[first]} if first in messages else {}, first + 1)

    def _consumer(self, config: dict[str, Any]) -> Recorder:
        consumer = Asking(self.broker, config, f"member-{len(self.members)}")
        consumer.world = self
        return consumer
