"""The write path: from the sums of a window to the items of the tables.

Entry: `writer.Writer`, `counters.Counters`, `increment.increment`. No module here knows Kafka. Only
this room makes a DynamoDB client and imports its library. Outside it, `registry.glue` and
`kafka.msk_iam` use AWS libraries for schemas and tokens, and `operations.probe` calls a client.
"""
