"""A Kafka cluster in memory. Entry: `broker.FakeBroker`."""
