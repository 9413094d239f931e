"""``dynatomic verify``: recounts the topic and compares it with the tables.

Entry: `command.verify`. It shares the decoder and the fence with the worker, and imports no module
of the worker.
"""
