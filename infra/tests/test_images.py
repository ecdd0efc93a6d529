"""What the worker accepts is what the image's FFmpeg can read, and no more; images are built from what they need, and can do little."""

import re
import tomllib
import unittest
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEMUX = (ROOT / "worker/media/src/demux.rs").read_text()
OPTIONS = (ROOT / "docker/ffmpeg.options").read_text()

# Names in the worker's list that other builds of FFmpeg have for codecs that this one decodes by itself, or that its
# hardware path does not use.
OTHER_BUILDS = {
    "libvpx", "libvpx-vp9", "av1", "libaom-av1", "h264_cuvid", "hevc_cuvid", "aac_fixed", "ac3_fixed", "libopus",
    "libvorbis", "libopencore_amrnb", "libopencore_amrwb",
}  # fmt: skip
# FFmpeg's configure has other names for these.
RENAMED = {"msmpeg4": "msmpeg4v3", "mpeg": "mpegps", "webm": "matroska", "amrnb": "amrnb"}


def codecs() -> set[str]:
    found = re.search(r'pub const CODECS: &str = "(.*?)";', DEMUX, re.DOTALL)
    assert found, "demux.rs has no CODECS"
    return {RENAMED.get(name, name) for name in re.sub(r"\\\s*", "", found[1]).split(",")}


def containers() -> set[str]:
    lists = re.findall(r'=> Some\("(.*?)"\)', DEMUX)
    assert lists, "demux.rs has no lists of containers"
    return {RENAMED.get(name, name) for names in lists for name in names.split(",")}


def enabled(kind: str) -> set[str]:
    lists = re.findall(rf"^--enable-{kind}=(.*)$", OPTIONS, re.MULTILINE)
    return {name for names in lists for name in names.split(",")}


class Image(unittest.TestCase):
    def test_decoders(self) -> None:
        self.assertEqual(codecs() - OTHER_BUILDS, enabled("decoder"))

    def test_containers(self) -> None:
        self.assertEqual(containers(), enabled("demuxer"))

    def test_nothing_reaches_the_network(self) -> None:
        self.assertIn("--disable-network\n", OPTIONS)
        self.assertEqual(enabled("protocol"), set())


DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def in_context(path: Path) -> bool:
    """Whether .dockerignore lets a build see a file: the last rule that fits it or a folder above it counts."""
    name, seen = path.resolve().relative_to(ROOT).as_posix(), True
    names = ["/".join(name.split("/")[: depth + 1]) for depth in range(name.count("/") + 1)]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        rule = line.removeprefix("!")
        if not rule or rule.startswith("#"):
            continue
        if any(fnmatch(part, rule.removeprefix("**/")) or fnmatch(part, rule) for part in names):
            seen = line.startswith("!")
    return seen


def instructions(file: Path) -> Iterator[tuple[str, str]]:
    """Each instruction of a Dockerfile with its arguments, continued lines joined, comments left out."""
    lines = [line for line in file.read_text().splitlines() if line.strip() and not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = line.partition(" ")
        yield word, rest


class Builds(unittest.TestCase):
    def test_what_is_copied_is_there(self) -> None:
        copied = 0
        for file in DOCKERFILES:
            for word, rest in instructions(file):
                if word == "COPY" and "--from=" not in rest:
                    for source in rest.split()[:-1]:
                        copied += 1
                        with self.subTest(f"{file.name} {source}"):
                            self.assertTrue((ROOT / source).exists())
                            self.assertTrue(source == "." or in_context(ROOT / source))
        self.assertGreaterEqual(copied, 3)

    def test_stages_that_are_copied_from_come_before(self) -> None:
        for file in DOCKERFILES:
            stages: set[str] = set()
            for word, rest in instructions(file):
                if word == "FROM":
                    stages |= set(re.findall(r" AS (\w+)$", rest))
                self.assertLessEqual(set(re.findall(r"--from=(\w+)", rest)), stages, file.name)

    def test_every_manifest_of_the_workspace_and_every_file_that_sources_embed_is_seen(self) -> None:
        members = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["members"]
        wanted = [ROOT / "Cargo.toml", ROOT / "Cargo.lock", *(ROOT / member / "Cargo.toml" for member in members)]
        for crate in ("fleet", "worker", "dispatcher"):
            for source in (ROOT / crate).rglob("*.rs"):
                text = source.read_text()
                embedded = re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', text)
                wanted += [source, *(source.parent / name for name in embedded)]
                wanted += [ROOT / crate / name for name in re.findall(r'migrate!\("([^"]+)"\)', text)]
        for path in wanted:
            with self.subTest(str(path)):
                self.assertTrue(path.exists())
                self.assertTrue(in_context(path))

    def test_a_build_takes_nothing_that_it_does_not_need(self) -> None:
        for path in ("docs/API.md", "target/release/worker", ".git/HEAD", "demo/sample.mp4", "README.md"):
            self.assertFalse(in_context(ROOT / path), path)

    def test_images_of_others_are_named_by_digest_and_everywhere_by_the_same(self) -> None:
        services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
        named = {service["image"] for service in services.values() if not service["image"].startswith("touchline/")}
        for file in DOCKERFILES:
            bases = dict(rest.split("=", 1) for word, rest in instructions(file) if word == "ARG" and ":" in rest)
            named |= set(bases.values())
            for rest in (rest for word, rest in instructions(file) if word == "FROM"):
                self.assertIn(rest.split(" AS ")[0].strip("${}"), bases, file.name)
        for image in named:
            self.assertRegex(image, r"^[a-z/]+:[\w.-]+@sha256:[0-9a-f]{64}$")
        self.assertEqual(len({image.split(":")[0] for image in named}), len(named), "two digests of one image")

    def test_images_run_as_nobody_in_particular(self) -> None:
        self.assertEqual(len(DOCKERFILES), 2)
        for file in DOCKERFILES:
            last = list(instructions(file))
            last = last[max(i for i, (word, _) in enumerate(last) if word == "FROM") :]
            users = [rest for word, rest in last if word == "USER"]
            self.assertEqual(users, ["10001:10001"], file.name)
            after = [word for word, _ in last[[word for word, _ in last].index("USER") :]]
            self.assertNotIn("RUN", after, file.name)

    def test_our_containers_have_a_root_that_cannot_be_written_and_no_capability(self) -> None:
        services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
        ours = {name: service for name, service in services.items() if service["image"].startswith("touchline/")}
        self.assertEqual(set(ours), {"migrate", "dispatcher", "worker"})
        for name, service in ours.items():
            with self.subTest(name):
                self.assertTrue(service["read_only"])
                self.assertEqual(service["cap_drop"], ["ALL"])
                self.assertIn("no-new-privileges:true", service["security_opt"])
        for service in services.values():
            self.assertTrue(all(str(port).startswith("127.0.0.1:") for port in service.get("ports", [])))
