"""The Kafka clients: their configuration, and requests about topics and consumer groups.

Entry: `client.new_consumer`, `emitter.Emitter`, `topics`, `groups`.
"""
