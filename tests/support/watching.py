"""What a running consumer answers over HTTP, read as a probe and as Prometheus do."""

import json
import re
import urllib.error
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.children import Child


def url_of(child: Child) -> str:
    """Return the address of its endpoint, once it serves."""
    child.wait_for('"serving"')
    (found,) = re.findall(r'"url": "(http://[^"]+)"', child.stderr)
    return str(found)


def get(url: str) -> tuple[int, str]:
    """Return the status and the body of a response."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - ours
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def health(url: str) -> tuple[int, list[str]]:
    """Return the status of /livez, and the causes that it names."""
    status, body = get(f"{url}livez")
    return status, [stall["cause"] for stall in json.loads(body)["stuck"]]


def metrics(url: str) -> dict[tuple[str, ...], float]:
    """Return each sample's value by its name and the values of its labels, in their order.

    The labels that every metric has, topic and group, are left out.
    """
    _, page = get(f"{url}metrics")
    return {
        (
            sample.name,
            *(sample.labels[name] for name in sorted(sample.labels.keys() - {"topic", "group"})),
        ): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def status_of(url: str) -> Any:
    """Return the decoded body of /status."""
    return json.loads(get(f"{url}status")[1])
