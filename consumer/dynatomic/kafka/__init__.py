"""The Kafka clients: their configuration, the readers of events, and requests about groups.

Entry: `client.new_consumer`, `event_reader.event_reader`, `emitter.Emitter` with its sums in
`sums`, `topics`, `groups`. `bounded_read` and `group_process` use a client in a child process,
because librdkafka can abort its process.
"""
