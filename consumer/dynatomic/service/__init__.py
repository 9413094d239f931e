"""The process of ``dynatomic run``: it builds the worker, runs it, and reports on it.

Entry: `run.run`. The HTTP endpoint reads from the worker and never changes it.
"""
