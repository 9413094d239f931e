"""The commands other than `run`: init, lag, top, offsets, config check, produce, demo.

Entry: one function per command. No module here imports the worker.
"""
