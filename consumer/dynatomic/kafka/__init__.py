"""The Kafka clients: their configuration, and what is asked of the brokers.

Entry: `client.new_consumer`, `emitter.Emitter`, `topics`, `groups`.
"""
