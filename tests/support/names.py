"""Names that no other test uses."""

import uuid


def unique(prefix: str) -> str:
    """Make a name that no other test, and no other run on the same server, has."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"
