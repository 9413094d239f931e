"""Counters that a file declares for events of any form: what each record adds.

Entry: `file.load` reads ``counters.toml`` and checks it; `counting.Counting` computes what
records add, or the reason why one cannot be counted. Invariants: what a record adds depends on the
record and the file only, never on a clock or on other records; every number is exact; the parts
of a key cannot be confused with each other. Pure: no client of Kafka or AWS.
"""
