"""The write path: from the sums of a window to the items of the tables.

Entry: `writer.Writer`, `counters.Counters`, `increment.increment`. No module here knows Kafka. Only
this room uses the AWS client for DynamoDB. Outside it, `registry.glue` and `kafka.msk_iam` use AWS
libraries for schemas and tokens, and `operations.probe` names the type of the client.
"""
