"""Print the parts of a Python environment as CycloneDX, with what the Kafka wheel brings along.

    python deploy/sbom.py /opt/dynatomic/bin/python > dynatomic.cdx.json

Needs cyclonedx-bom. It lists Python packages; librdkafka is a library inside the wheel of
confluent-kafka, and OpenSSL one inside librdkafka, so both are added, with the versions that they
tell themselves. So are curl, zlib, zstd and lz4, which are inside librdkafka too, without a version
that could be told from others: its release decides. Packages of the image's Debian are not listed:
scan the image for those.
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
WITHOUT_VERSION = (
    ("curl", "curl", "curl"),
    ("madler", "zlib", "Zlib"),
    ("facebook", "zstd", "BSD-3-Clause"),
    ("lz4", "lz4", "BSD-2-Clause"),
)
OPENSSL = re.compile(rb"OpenSSL (\d+\.\d+\.\d+[a-z]*) +\d")


def run(*command: str) -> Any:
    """Return what a command prints as JSON."""
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def component(owner: str, name: str, licence: str, version: str = "") -> dict[str, Any]:
    """Return a C library as a component; its release on GitHub is what advisories name."""
    tag = f"v{version}" if name == "librdkafka" else f"{name}-{version}"
    known = {"version": version} if version else {}
    return known | {
        "type": "library",
        "bom-ref": f"{name}=={version}" if version else name,
        "name": name,
        "licenses": [{"license": {"id": licence}}],
        "purl": f"pkg:github/{owner}/{name}" + (f"@{tag}" if version else ""),
    }


def parts(python: str) -> dict[str, Any]:
    """Return the parts of an interpreter's environment."""
    # Not validated before it is whole: the tests do that, and it takes minutes for many packages.
    options = ("--output-reproducible", "--no-validate")
    command = [sys.executable, "-m", "cyclonedx_py", "environment", *options, python]
    found: dict[str, Any] = run(*command)
    version, library = run(python, "-c", ASK)
    rdkafka = component("confluentinc", "librdkafka", "BSD-2-Clause", version)
    inside = OPENSSL.search(Path(library).read_bytes())
    if inside is None:
        raise SystemExit(f"no version of OpenSSL in {library}: look what it uses now")
    openssl = component("openssl", "openssl", "Apache-2.0", inside[1].decode())
    others = [component(*each) for each in WITHOUT_VERSION]
    found["components"] += [rdkafka, openssl, *others]
    (wheel,) = (each for each in found["components"] if each["name"] == "confluent-kafka")
    for part, whole in ((rdkafka, wheel), *((each, rdkafka) for each in (openssl, *others))):
        edges = {each["ref"]: each for each in found["dependencies"]}
        edge = edges.get(whole["bom-ref"])
        if edge is None:
            edge = {"ref": whole["bom-ref"]}
            found["dependencies"].append(edge)
        edge.setdefault("dependsOn", []).append(part["bom-ref"])
    found["dependencies"] += [{"ref": each["bom-ref"]} for each in (openssl, *others)]
    return found


if __name__ == "__main__":
    json.dump(parts(sys.argv[1]), sys.stdout, indent=2)
    sys.stdout.write("\n")
