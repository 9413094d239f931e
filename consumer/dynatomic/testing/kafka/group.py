"""A consumer group: its members, their assignments, and the committed offsets.

Cooperative and sticky, as ``cooperative-sticky`` and KIP-848: a rebalance moves as few partitions
as possible, and a partition gets its new owner only after the old one has given it up.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

TopicAndPartition = tuple[str, int]
PartitionsOf = Callable[[Iterable[str]], list[TopicAndPartition]]


@dataclass(eq=False, slots=True)
class Member:
    """A member of a group.

    ``owned``: the partitions that the member owns. ``target``: the partitions of its assignment.
    ``asked``: the partitions that the group had revoked when it removed the member.
    ``generation``: the last generation of the member.
    """

    name: str
    topics: frozenset[str] = frozenset()
    owned: set[TopicAndPartition] = field(default_factory=set)
    target: set[TopicAndPartition] = field(default_factory=set)
    asked: set[TopicAndPartition] = field(default_factory=set)
    generation: int = 0
    joined: bool = False
    expired: bool = False


@dataclass(slots=True)
class Group:
    """The members in the order of joining, the committed offsets, and their metadata."""

    members: list[Member] = field(default_factory=list)
    offsets: dict[TopicAndPartition, int] = field(default_factory=dict)
    metadata: dict[TopicAndPartition, str] = field(default_factory=dict)
    generation: int = 0

    def join(self, member: Member, partitions_of: PartitionsOf) -> None:
        """Add a member and rebalance."""
        member.joined, member.expired, member.target = True, False, set()
        self.members.append(member)
        self.rebalance(partitions_of)

    def leave(self, member: Member, partitions_of: PartitionsOf) -> None:
        """Remove a member, if it is one, and rebalance."""
        if member in self.members:
            self.members.remove(member)
            member.joined, member.target = False, set()
            self.rebalance(partitions_of)

    def rebalance(self, partitions_of: PartitionsOf) -> None:
        """Assign the partitions of the subscribed topics to the members."""
        before = {member.name: set(member.target) for member in self.members}
        topics = frozenset().union(*(member.topics for member in self.members))
        free = []
        for member in self.members:
            member.target = set()
        for partition in partitions_of(topics):
            readers = [m for m in self.members if partition[0] in m.topics]
            keeper = next((m for m in readers if partition in before[m.name]), None)
            if keeper and len(keeper.target) < self._quota(readers, partitions_of):
                keeper.target.add(partition)
            else:
                free.append((partition, readers))
        for partition, readers in free:
            min(readers, key=lambda m: len(m.target)).target.add(partition)
        self.generation += 1

    @staticmethod
    def _quota(readers: list[Member], partitions_of: PartitionsOf) -> int:
        topics = frozenset().union(*(member.topics for member in readers))
        return -(-len(partitions_of(topics)) // len(readers))

    def gained(self, member: Member) -> list[TopicAndPartition]:
        """Return the assigned partitions of a member that no member owns."""
        others = set().union(*(m.owned for m in self.members if m is not member))
        return sorted(member.target - member.owned - others)
