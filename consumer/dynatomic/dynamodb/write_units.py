"""Counts the write units that DynamoDB reports."""

from collections import Counter
from threading import Lock
from typing import Any


class WriteUnits:
    """The write units that DynamoDB reported, by table. Thread-safe.

    An answer has them only if the request asks for them (``ReturnConsumedCapacity``), which is
    free. DynamoDB Local reports none for batches.
    """

    def __init__(self) -> None:
        self.by_table: Counter[str] = Counter()
        self._lock = Lock()

    def record(self, reported: Any) -> None:
        """Add the ``ConsumedCapacity`` of one answer, which may have none."""
        for usage in reported if isinstance(reported, list) else ():
            if isinstance(usage, dict) and isinstance(
                units := usage.get("CapacityUnits"), int | float
            ):
                with self._lock:
                    self.by_table[str(usage.get("TableName"))] += units  # type: ignore[assignment]
