"""Which Host headers the endpoint answers. It protects against DNS rebinding.

A website can let its own name resolve to 127.0.0.1. The browser then lets its scripts read what
listens there, but sends the name of the website as Host.
"""

from collections.abc import Iterable
from ipaddress import ip_address


def is_loopback(address: str) -> bool:
    """Return whether an IP address is one of the loopback."""
    return ip_address(address).is_loopback


def all_name_loopback(hosts: Iterable[str]) -> bool:
    """Return whether each Host header is empty, an IP address, or a name of the loopback.

    No website can have these: a name below ``localhost`` always resolves to the loopback
    (RFC 6761), and a script that was loaded from an IP address may read only that address.
    """
    return all(_names_loopback(host) for host in hosts)


def _names_loopback(host: str) -> bool:
    name = host.strip().rstrip(".").lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    return name in {"", "localhost"} or name.endswith(".localhost") or _is_ip_address(name)


def _is_ip_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
