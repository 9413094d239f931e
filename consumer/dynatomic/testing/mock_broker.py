"""A Kafka broker inside this process: the mock cluster of librdkafka, called with ctypes.

The shared library is in the wheel of confluent-kafka. The broker has its own threads, listens on
127.0.0.1, and accepts other processes. It keeps about 5 MiB of record batches for each partition,
and then deletes the oldest without an error. This limit cannot be changed. It does not support
CreateTopics (use `MockBroker.create_topic`), DescribeGroups, and offsets by time.

Source: librdkafka, *rdkafka_mock.h*.
"""

import ctypes
import importlib.metadata
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dynatomic.errors import DynatomicError

_PRODUCER: Final = 0
_ALL_BROKERS: Final = -1

_pointer = ctypes.c_void_p
_text = ctypes.c_char_p
_int16 = ctypes.c_int16
_int32 = ctypes.c_int32
_size = ctypes.c_size_t

# The result and the arguments of the functions, from rdkafka.h and rdkafka_mock.h of librdkafka.
_FUNCTIONS: Final = {
    "conf_new": (_pointer, ()),
    "conf_set": (ctypes.c_int, (_pointer, _text, _text, _text, _size)),
    "new": (_pointer, (ctypes.c_int, _pointer, _text, _size)),
    "destroy": (None, (_pointer,)),
    "err2str": (_text, (ctypes.c_int,)),
    "mock_cluster_new": (_pointer, (_pointer, ctypes.c_int)),
    "mock_cluster_destroy": (None, (_pointer,)),
    "mock_cluster_bootstraps": (_text, (_pointer,)),
    "mock_set_controller_id": (ctypes.c_int, (_pointer, _int32)),
    "mock_topic_create": (ctypes.c_int, (_pointer, _text, ctypes.c_int, ctypes.c_int)),
    "mock_push_request_errors_array": (None, (_pointer, _int16, _size, _pointer)),
    "mock_clear_request_errors": (None, (_pointer, _int16)),
    "mock_broker_set_down": (ctypes.c_int, (_pointer, _int32)),
    "mock_broker_set_up": (ctypes.c_int, (_pointer, _int32)),
    "mock_broker_set_rtt": (ctypes.c_int, (_pointer, _int32, ctypes.c_int)),
    "mock_group_initial_rebalance_delay_ms": (None, (_pointer, _int32)),
    "mock_set_group_consumer_session_timeout_ms": (None, (_pointer, ctypes.c_int)),
    "mock_set_group_consumer_heartbeat_interval_ms": (None, (_pointer, ctypes.c_int)),
}


def _library_path() -> Path:
    """Return the path of librdkafka in the wheel (Linux: ``.libs``, macOS: ``.dylibs``)."""
    try:
        files = importlib.metadata.files("confluent-kafka") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        is_library = ".so" in file.name or file.name.endswith(".dylib")
        if is_library and file.name.startswith(("librdkafka-", "librdkafka.")):
            return Path(str(file.locate()))
    raise DynatomicError(
        "no librdkafka in the confluent-kafka package: the embedded broker needs its wheel for "
        "Linux or macOS (pip install --only-binary :all: confluent-kafka), or use a real Kafka"
    )


def _load() -> ctypes.CDLL:
    path = _library_path()
    try:
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, f"rd_kafka_{name}")
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise DynatomicError(
            f"{path} has no usable mock cluster ({error}): install confluent-kafka >= 2.16"
        ) from error
    return library


class MockBroker:
    """A mock Kafka cluster that other processes can use. It fails on demand."""

    def __init__(self) -> None:
        """Start it. Raises `DynatomicError` if the wheel has no mock cluster."""
        self._library = _load()
        reason = ctypes.create_string_buffer(512)
        conf = self._library.rd_kafka_conf_new()
        # The mock cluster needs a client handle. It has no servers, so it would log a warning.
        self._library.rd_kafka_conf_set(conf, b"log_level", b"0", reason, 512)
        self._handle = self._library.rd_kafka_new(_PRODUCER, conf, reason, 512)
        if not self._handle:
            raise DynatomicError(
                f"librdkafka cannot create a client for the mock cluster: {reason.value.decode()}"
            )
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._handle, 1)
        if not self._cluster:
            self._library.rd_kafka_destroy(self._handle)
            raise DynatomicError(
                "librdkafka cannot create a mock cluster: it could not listen on 127.0.0.1"
            )
        self._call("set_controller_id", 1)  # without it, admin requests get no answer
        # By default a group waits 3 s for its first members. With the new protocol, a killed member
        # keeps its partitions for more than 18 s. Both are too long for a demo.
        self._call("group_initial_rebalance_delay_ms", 100)
        self._call("set_group_consumer_session_timeout_ms", 3000)
        self._call("set_group_consumer_heartbeat_interval_ms", 500)
        servers: bytes = self._call("cluster_bootstraps")
        self.bootstrap_servers = servers.decode()

    def create_topic(self, name: str, partitions: int) -> None:
        """Create a topic. Raises `DynatomicError` if it exists."""
        self._check("topic_create", name.encode(), partitions, 1)

    def push_errors(self, api_key: int, codes: Iterable[int]) -> None:
        """Answer the next requests of this kind with these codes of `KafkaError`, one by one.

        ``api_key`` is Kafka's (0 produce, 1 fetch, 8 offset commit, 9 offset fetch, 11 join,
        12 heartbeat, 68 consumer group heartbeat). `KafkaError._TRANSPORT` drops the connection.
        """
        errors = list(codes)
        array = (ctypes.c_int * len(errors))(*errors)
        self._call("push_request_errors_array", api_key, len(errors), array)

    def clear_errors(self, api_key: int) -> None:
        """Remove the errors of `push_errors` that were not used yet."""
        self._call("clear_request_errors", api_key)

    def set_broker_down(self) -> None:
        """Close all connections and refuse new ones. Topics and offsets are kept."""
        self._check("broker_set_down", _ALL_BROKERS)

    def set_broker_up(self) -> None:
        """Accept connections again."""
        self._check("broker_set_up", _ALL_BROKERS)

    def set_rtt(self, milliseconds: int) -> None:
        """Delay every answer by this much."""
        self._check("broker_set_rtt", _ALL_BROKERS, milliseconds)

    def close(self) -> None:
        """End the cluster with its topics. A second call does nothing."""
        if self._cluster:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._library.rd_kafka_destroy(self._handle)
            self._cluster = None

    def _call(self, name: str, *arguments: object) -> bytes:
        if not self._cluster:
            raise DynatomicError("the embedded broker is closed")
        result: bytes = getattr(self._library, f"rd_kafka_mock_{name}")(self._cluster, *arguments)
        return result

    def _check(self, name: str, *arguments: object) -> None:
        code = self._call(name, *arguments)
        if code:
            reason = self._library.rd_kafka_err2str(code).decode()
            raise DynatomicError(f"the embedded broker refused {name}{arguments}: {reason}")
