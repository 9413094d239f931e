"""The commands, their flags and their exit codes.

Entry: `cli.main.main`. A command has no logic: it reads the settings and calls one function of
another room.
"""
