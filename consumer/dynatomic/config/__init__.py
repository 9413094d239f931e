"""The settings and their checks.

Entry: `settings.Settings`, `catalogue.SETTINGS`, `properties.check_properties`. A setting is
defined once: flag, environment variable, default, check and help come from the same field.
"""
