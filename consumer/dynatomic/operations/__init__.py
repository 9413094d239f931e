"""The commands that have no room of their own, and the fixture for pytest.

init and its IAM policies, lag, top, hot, get, explain, offsets and adoption, config check and its
probe, produce, demo, dev. Entry: one function per command, `pytest_plugin` for the fixture. No
module here imports the worker.
"""
