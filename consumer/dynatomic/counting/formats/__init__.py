"""How the payload of a record becomes an event: frames, Avro, and envelopes.

Entry: `framing.unframed`, `avro.avro_decoder`, `envelopes`. Invariants: what a payload becomes
depends on the record, the file and immutable schemas only; bad bytes and bad schemas cost bounded
time and memory. Pure: schemas come from a `schemas.SchemaSource`, which may ask a registry.
"""
