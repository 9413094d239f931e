"""A DynamoDB client and a Kafka broker in memory, to test programs that use this package.

::

    from dynatomic import FakeBroker, FakeDynamoDB

    broker, table = FakeBroker(), FakeDynamoDB()
    broker.create_topic("row-events", partitions=4)

They stand in for the low-level ``boto3.client("dynamodb")`` and for confluent-kafka's
``Consumer`` and ``Producer``, as far as this package uses them. They start no threads, open no
sockets and never sleep, and they fail on demand. One contract suite runs on them, on the
embedded servers and on Kafka and DynamoDB Local.
"""
