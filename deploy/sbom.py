"""Print the software bill of materials (SBOM) of a Python environment as CycloneDX.

    python deploy/sbom.py /opt/dynatomic/bin/python > dynatomic.cdx.json

Needs cyclonedx-bom, which lists the Python packages. The wheel of confluent-kafka contains
librdkafka, and librdkafka contains OpenSSL, curl, zlib, zstd and lz4: these are added here.
librdkafka and OpenSSL report their versions. The other four are listed without a version, because
the library does not report it. Debian packages of the image are not listed: scan the image for
them.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

LIBRARY_QUERY = """
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
    """Return a C library as a component, with the GitHub release that advisories refer to."""
    tag = f"v{version}" if name == "librdkafka" else f"{name}-{version}"
    return ({"version": version} if version else {}) | {
        "type": "library",
        "bom-ref": f"{name}=={version}" if version else name,
        "name": name,
        "licenses": [{"license": {"id": licence}}],
        "purl": f"pkg:github/{owner}/{name}" + (f"@{tag}" if version else ""),
    }


def parts(python: str) -> dict[str, Any]:
    """Return the SBOM of the environment of a Python interpreter."""
    # Without validation: it takes minutes for many packages, and components are added below. The
    # tests validate the result.
    options = ("--output-reproducible", "--no-validate")
    command = [sys.executable, "-m", "cyclonedx_py", "environment", *options, python]
    bill: dict[str, Any] = run(*command)
    version, library = run(python, "-c", LIBRARY_QUERY)
    rdkafka = component("confluentinc", "librdkafka", "BSD-2-Clause", version)
    inside = OPENSSL.search(Path(library).read_bytes())
    if inside is None:
        raise SystemExit(
            f"no version of OpenSSL in {library}: check which TLS library it contains now"
        )
    openssl = component("openssl", "openssl", "Apache-2.0", inside[1].decode())
    others = [component(*each) for each in WITHOUT_VERSION]
    bill["components"] += [rdkafka, openssl, *others]
    (wheel,) = (each for each in bill["components"] if each["name"] == "confluent-kafka")
    for part, whole in ((rdkafka, wheel), *((each, rdkafka) for each in (openssl, *others))):
        edges = {each["ref"]: each for each in bill["dependencies"]}
        edge = edges.get(whole["bom-ref"])
        if edge is None:
            edge = {"ref": whole["bom-ref"]}
            bill["dependencies"].append(edge)
        edge.setdefault("dependsOn", []).append(part["bom-ref"])
    bill["dependencies"] += [{"ref": each["bom-ref"]} for each in (openssl, *others)]
    return bill


if __name__ == "__main__":
    json.dump(parts(sys.argv[1]), sys.stdout, indent=2)
    sys.stdout.write("\n")
