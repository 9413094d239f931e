"""A Kafka whose data stay in a folder, so that the next run finds its topics."""

from pathlib import Path
from typing import Final

from tests.support.kafka_server import KafkaServer

_A_YEAR: Final = 24 * 365  # in hours


class KeptKafka(KafkaServer):
    """One real broker; only its data folder outlives it. Only one may use a folder at a time."""

    def __init__(self, folder: Path) -> None:
        """Start it on this folder. Raises as `KafkaServer` does."""
        self._data = folder.absolute() / "kafka"
        self._data.parent.mkdir(parents=True, exist_ok=True)
        (self._data.parent / ".gitignore").write_text("*\n")
        super().__init__(jvm=())

    def close(self) -> None:
        """Stop it in order, so that the next start has nothing to repair."""
        self.stop()
        super().close()

    def _format(self) -> None:
        # The last line of a name is used. Settings of this run stay unchanged.
        with self._config.open("a") as config:
            config.write(f"\nlog.dirs={self._data}\nlog.retention.hours={_A_YEAR}\n")
        if not (self._data / "meta.properties").exists():
            super()._format()
