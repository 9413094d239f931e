"""The loop that polls, sums, writes and commits, and the state of each partition.

Entry: `loop.Worker`. It keeps this promise:

1. An offset is committed only when every event below it has been added to its counter or stored
   as a dead letter.
2. at-least-once: no event is ever missing from a counter; after a crash, a lost partition or a
   request with an unknown outcome, some may be counted twice.
3. exactly-once: every event is in its counter once, also after kills, retries, replays, rewinds
   and late answers.
4. One window at a time is in flight per partition, and windows of a partition are applied in
   order.
5. A problem of one partition (a throttled table, a bad row) never stops another partition.
6. A lost partition is dropped: nothing of it is written or committed any more. A revoked
   partition is written and committed first, within a bound.
7. A bad row never blocks the process, ends it, or changes the count of others. It is stored in
   the dead-letter topic, with its bytes and the reason, before its offset is committed.
8. SIGTERM finishes the open windows, commits, leaves the group and exits 0 within the bound; a
   second signal exits at once.
9. Memory is bounded by settings, not by the backlog.
10. When the group makes no progress, it is reported: `/livez` fails, and there is a log line with
    the cause, a metric, or an exit code. It never looks healthy while it is stuck.
"""
