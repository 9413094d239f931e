"""Events that cannot be counted: they are stored as dead letters, shown and replayed.

Entry: `store.DeadLetters` for the loop, `show.show` and `replay.replay` for the commands. A letter
keeps the key, the value and the headers of its message.
"""
