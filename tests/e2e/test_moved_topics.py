"""A topic that is a copy of another one: adopted where it has the same offsets, else refused.

The copy is made as Cluster Linking and MirrorMaker make it: another topic id, the same events and
timestamps, and the committed offset with the metadata of the old topic. It is on the same cluster,
so it has another name too.
"""

from dynatomic.kafka.commit_metadata import parse
from tests.support.events import Event, Log, avro
from tests.support.operator_calls import ONCE, fix_of
from tests.support.stack import REAL, Stack
from tests.support.tables import Table

COUNT, FIRST_TIME_MS = 10, 1_790_000_000_000


def fill(stack: Stack, topic: str, table: str, first: int = 0) -> None:
    """Store the events of the old topic, from one of them on."""
    messages = [
        {"value": avro(Event(table, f"k{n % 4}")), "timestamp": FIRST_TIME_MS + n}
        for n in range(first, COUNT)
    ]
    stack.produce_raw(topic, messages, 0)


def counted(table: str) -> Log:
    log = Log()
    for n in range(COUNT):
        log[table, f"k{n % 4}", None, "count"] += 1
    return log


@REAL
def test_a_copy_with_the_same_offsets_is_adopted(stack: Stack, table: Table) -> None:
    old, topic, name = stack.topic(), stack.topic(), table()
    fill(stack, old, name)
    stack.drain(old, [name], *ONCE)
    fill(stack, topic, name)
    stack.commit(topic, stack.committed_with_metadata(old))
    child = stack.run(topic, [name], "--once", *ONCE)
    assert child.wait() == 1
    adopt = fix_of(child.stderr, "continue: ")
    assert adopt[-5:-1] == ["--processing-guarantee", "exactly-once", "--table", name]
    plan = stack.spawn(*adopt[:-1], env=stack.env())
    assert plan.wait() == 0, plan.logs()
    assert "--adopt: the copy has the same offsets" in plan.stdout
    assert plan.stdout.endswith("nothing was changed: add --execute\n")
    done = stack.spawn(*adopt, env=stack.env())
    assert done.wait() == 0, done.logs()
    assert f"table {name}: 4 items read, the fences of 4 changed" in done.stdout
    stack.commit(topic, None)  # whatever happens to the offset then, the fences are there
    stack.drain(topic, [name], *ONCE)
    assert stack.counters(name) == counted(name)
    more = stack.produce(topic, [Event(name, "k0")], 0)
    stack.drain(topic, [name], *ONCE)
    assert stack.counters(name) == counted(name) + more


@REAL
def test_a_copy_with_other_offsets_is_not_adopted(stack: Stack, table: Table) -> None:
    old, topic, name = stack.topic(), stack.topic(), table()
    fill(stack, old, name)
    stack.drain(old, [name], *ONCE)
    _, about = stack.committed_with_metadata(old)
    fill(stack, topic, name, first=3)  # the oldest events were not copied
    stack.commit(topic, (5, about))
    child = stack.run(topic, [name], "--once", *ONCE)
    assert child.wait() == 1
    command = ["offsets", "-g", topic, "-t", topic, *ONCE, "--table", name]
    plan = stack.spawn(*command, env=stack.env())
    assert plan.wait() == 0, plan.logs()
    assert "and up to 2 from the committed offset 5" in plan.stdout
    assert "it has events from before the last counted one, so it is a copy" in plan.stdout
    assert "with others (MirrorMaker) see docs/how-to/move-a-topic.md" in plan.stdout
    refused = stack.spawn(
        *command, "--adopt", str(parse(about).topic_id), "--execute", env=stack.env()
    )
    assert refused.wait() == 1
    assert "it cannot be adopted" in refused.stderr
    assert stack.committed_with_metadata(topic) == (5, about)
    assert stack.counters(name) == counted(name)
