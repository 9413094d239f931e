"""What a person runs beside the consumers: init, lag, top, offsets, config check, produce, demo.

Entry: one function per command. No module here imports the worker.
"""
