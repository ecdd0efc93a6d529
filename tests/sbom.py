#!/usr/bin/env python3
"""Prints a CycloneDX 1.5 bill of materials: the crates of Cargo.lock that the programs are built from, and the C libraries
that the worker loads, by the Debian package each comes from."""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ["libavcodec", "libavformat", "libavfilter", "libavutil", "libswresample", "libswscale"]


def output(*command):
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def crates():
    metadata = json.loads(output("cargo", "metadata", "--locked", "--format-version", "1"))
    for package in metadata["packages"]:
        reference = f"pkg:cargo/{package['name']}@{package['version']}"
        component = {
            "type": "library" if package["source"] else "application",
            "bom-ref": reference if package["source"] else package["name"],
            "name": package["name"],
            "version": package["version"],
        }
        if package["source"]:
            component["purl"] = reference
        if package["license"]:
            component["licenses"] = [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}]
        yield component


def libraries():
    """FFmpeg as pkg-config finds it, and every shared object that the built worker loads."""
    for name in LIBRARIES:
        version = output("pkg-config", "--modversion", name).strip()
        yield {"type": "library", "bom-ref": f"pkg-config:{name}", "name": name, "version": version}
    worker = ROOT / "target/release/worker"
    if not worker.is_file():
        print("the worker is not built: shared objects are left out", file=sys.stderr)
        return
    packages = set()
    for line in output("ldd", str(worker)).splitlines():
        found = re.search(r"=> (/\S+)", line)
        if found:
            owner = subprocess.run(
                ["dpkg-query", "-S", str(Path(found[1]).resolve())], capture_output=True, text=True, check=False
            )
            packages.update(owner.stdout.split(": ")[:1] if owner.returncode == 0 else [])
    for package in sorted(packages):
        name, version = output("dpkg-query", "-W", "-f=${Package} ${Version}", package).split()
        purl = f"pkg:deb/debian/{name}@{version}"
        yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


components = sorted([*crates(), *libraries()], key=lambda c: (c["type"], c["name"], c["version"]))
document = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": components}
json.dump(document, sys.stdout, indent=1)
