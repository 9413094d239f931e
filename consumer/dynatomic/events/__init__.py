"""What an event is, and what it adds to which counter.

Entry: `row.Row`, `decoder.Decoder`, `window.Window`. Pure: no clock, no client, no I/O but reading
a schema file.
"""
