"""Logs, log events, metrics and durations: each is defined once, here.

Entry: `logs.setup`, `metrics.METRICS`, `log_events.LOG_EVENTS`.
"""
