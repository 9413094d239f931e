"""The settings, and what makes one valid.

Entry: `settings.Settings`, `properties.check`. A setting is defined once: its flag, environment
variable, default, check and help come from the same line.
"""
