"""Print the parts of a Python environment as CycloneDX, with what the Kafka wheel brings along.

    python deploy/sbom.py /opt/dynatomic/bin/python > dynatomic.cdx.json

Needs cyclonedx-bom. It lists Python packages; librdkafka is a library inside the wheel of
confluent-kafka, and OpenSSL one inside librdkafka, so both are added, with the versions that they
tell themselves. Packages of the image's Debian are not listed: scan the image for those.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ASK = """
import json, pathlib, confluent_kafka
libraries = pathlib.Path(confluent_kafka.__file__).parent.with_suffix(".libs")
print(json.dumps([confluent_kafka.libversion()[0], str(next(libraries.glob("librdkafka*")))]))
"""
OPENSSL = re.compile(rb"OpenSSL (\d+\.\d+\.\d+[a-z]*) +\d")


def run(*command: str) -> Any:
    """Return what a command prints as JSON."""
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def component(owner: str, name: str, version: str, licence: str) -> dict[str, Any]:
    """Return a C library as a component; its release on GitHub is what advisories name."""
    tag = f"v{version}" if name == "librdkafka" else f"{name}-{version}"
    return {
        "type": "library",
        "bom-ref": f"{name}=={version}",
        "name": name,
        "version": version,
        "licenses": [{"license": {"id": licence}}],
        "purl": f"pkg:github/{owner}/{name}@{tag}",
    }


def parts(python: str) -> dict[str, Any]:
    """Return the parts of an interpreter's environment."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", python]
    found: dict[str, Any] = run(*command)
    version, library = run(python, "-c", ASK)
    rdkafka = component("confluentinc", "librdkafka", version, "BSD-2-Clause")
    inside = OPENSSL.search(Path(library).read_bytes())
    if inside is None:
        raise SystemExit(f"no version of OpenSSL in {library}: look what it uses now")
    openssl = component("openssl", "openssl", inside[1].decode(), "Apache-2.0")
    found["components"] += [rdkafka, openssl]
    (wheel,) = (each for each in found["components"] if each["name"] == "confluent-kafka")
    for part, whole in ((rdkafka, wheel), (openssl, rdkafka)):
        edges = {each["ref"]: each for each in found["dependencies"]}
        edge = edges.get(whole["bom-ref"])
        if edge is None:
            edge = {"ref": whole["bom-ref"]}
            found["dependencies"].append(edge)
        edge.setdefault("dependsOn", []).append(part["bom-ref"])
    found["dependencies"].append({"ref": openssl["bom-ref"]})
    return found


if __name__ == "__main__":
    json.dump(parts(sys.argv[1]), sys.stdout, indent=2)
    sys.stdout.write("\n")
