"""What the worker accepts is what the image's FFmpeg can read, and no more."""

import re
import unittest
from pathlib import Path

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
