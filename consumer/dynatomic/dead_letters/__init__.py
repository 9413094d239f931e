"""Events that cannot be counted: how they are stored, shown and sent again.

Entry: `store.DeadLetters` for the loop, `show.show` and `replay.replay` for the commands. A letter
keeps the key, the value and the headers of its message.
"""
