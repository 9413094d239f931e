"""The write path: from the sums of a window to the items of the tables.

Entry: `writer.Writer`, `counters.Counters`, `increment.increment`. No module here knows Kafka. An
AWS type does not leave this room.
"""
