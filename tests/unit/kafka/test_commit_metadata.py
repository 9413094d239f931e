"""The metadata of commits: what is written is read, and other texts say nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynatomic.kafka.commit_metadata import CommitMetadata, LastEvent, is_foreign, parse

ID, OTHER = "6f3c09d2" * 4, "b" * 32
# The default of the broker's offset.metadata.max.bytes.
MAX_BYTES = 4096

ids = st.none() | st.text("0123456789abcdef", min_size=32, max_size=32)
numbers = st.integers(0, 2**63 - 1)
events = st.none() | st.builds(LastEvent, numbers, st.none() | numbers, st.none() | numbers)


fingerprints = st.none() | st.text("0123456789abcdef", min_size=8, max_size=8)


@given(ids, events, fingerprints)
def test_what_is_written_is_read(
    topic_id: str | None, last: LastEvent | None, counters: str | None
) -> None:
    metadata = CommitMetadata(topic_id, last, counters)
    text = metadata.encode()
    assert parse(text) == metadata
    assert len(text) < MAX_BYTES
    assert text.isascii()


def test_the_format_is_the_documented_one() -> None:
    metadata = CommitMetadata(ID, LastEvent(41, 7, 1790000000000))
    assert metadata.encode() == f"dynatomic/2 topic={ID} last=41 epoch=7 time=1790000000000"
    assert CommitMetadata(ID, counters="30603732").encode() == (
        f"dynatomic/2 topic={ID} counters=30603732"
    )
    assert not CommitMetadata().encode()


def test_the_topic_id_alone_is_the_first_format() -> None:
    assert parse(ID) == CommitMetadata(ID)


def test_keys_and_formats_of_later_versions_are_read() -> None:
    later = f"dynatomic/3 later=0a1b2c3d topic={ID} last=4 word epoch=1 more=a=b"
    assert parse(later) == CommitMetadata(ID, LastEvent(4, 1))


@pytest.mark.parametrize(
    "text",
    ["", "by hand", ID[:-1], ID.upper(), f"{ID} ", f"topic={ID}", f"dynatomic topic={ID}", "\n"],
)
def test_other_texts_say_nothing(text: str) -> None:
    assert parse(text) == CommitMetadata()


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ("topic=x last=4", CommitMetadata(None, LastEvent(4))),
        (f"topic={ID} last=-4 epoch=1", CommitMetadata(ID)),
        (f"topic={ID} last=4 epoch=x time=", CommitMetadata(ID, LastEvent(4))),
        (f"topic={ID} epoch=3", CommitMetadata(ID)),
        (f"topic={ID} last={'9' * 30}", CommitMetadata(ID)),
    ],
)
def test_a_damaged_value_is_not_known(pairs: str, expected: CommitMetadata) -> None:
    assert parse(f"dynatomic/2 {pairs}") == expected


@pytest.mark.parametrize("written", [ID, CommitMetadata(ID, LastEvent(4)).encode()])
def test_a_commit_is_foreign_if_it_has_another_id(written: str) -> None:
    assert is_foreign(written, OTHER)
    assert not is_foreign(written, ID)
    assert not is_foreign(written, None)
    assert not is_foreign("by hand", OTHER)
