"""Schema registries: Confluent's API and AWS Glue, asked once for each schema.

Entry: `open.open_schemas`. Invariants: a registry that does not answer is never a verdict on an
event; an answer costs bounded time and memory; credentials come from the environment only. The
clients of registries are imported only where a file names one.
"""
