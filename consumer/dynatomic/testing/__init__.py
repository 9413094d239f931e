"""A DynamoDB client and a Kafka broker in memory, to test programs that use this package.

::

    from dynatomic import FakeBroker, FakeDynamoDB

    broker, table = FakeBroker(), FakeDynamoDB()
    broker.create_topic("row-events", partitions=4)

They replace the low-level ``boto3.client("dynamodb")`` and the ``Consumer`` and ``Producer`` of
confluent-kafka, with the methods that this package uses. They start no threads, open no sockets and
never sleep. They fail on demand. The same contract tests run on them, on the embedded servers, and
on Kafka and DynamoDB Local.
"""
