"""The fault campaign: real consumer processes, faults, and a log of what must be counted."""
