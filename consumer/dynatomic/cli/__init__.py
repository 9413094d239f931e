"""The commands: what each flag is called, and which function it calls.

Entry: `cli.main.main`. A command holds no logic: it reads the settings and calls one function of
another room.
"""
