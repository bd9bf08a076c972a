"""Finding, fetching and verifying weights; the hub is a server on loopback that the test starts."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fdr_bench import weights as w
from fdr_bench.errors import UsageError, WeightsError
from fdr_bench.images import Step
from fdr_bench.types import (
    CenterCrop,
    DetectorCard,
    DropOdd,
    OpenCVResize,
    Preset,
    Reflect,
    Resize,
    TensorResize,
    Tile,
    View,
    Weights,
)
from fdr_bench.weights_card import packaged_card, read_card, view_from_json, view_to_json
from tests.hub import serving

CONTENT = b"weights " * 100
SHA = hashlib.sha256(CONTENT).hexdigest()
MANUAL = Weights(filename="net.pth", sha256=SHA, manual="Clone https://example.org/net")
HUB = Weights(role="backbone", hub="me/model", revision="v1", filename="a.bin", sha256=SHA, bytes=1_700_000_000)
CARD = DetectorCard(name="net", paper="p", licence="MIT", presets={"official": Preset(weights=(MANUAL, HUB))})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("FDR_BENCH_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_missing_manual_weights_say_what_to_get_and_where_to_put_it(cache: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        w.locate(MANUAL, detector="net")
    for word in ("net.pth", "Clone https://example.org/net", str(cache / "weights/net/net.pth"), "--weights net=PATH"):
        assert word in str(caught.value)


def test_weights_in_the_cache_folder_are_found_and_verified(cache: Path) -> None:
    place = put(cache / "weights/net/net.pth")
    assert w.locate(MANUAL, detector="net") == place
    place.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(WeightsError, match=f"sha256 is .*, expected {SHA}.*not used"):
        w.locate(MANUAL, detector="net")


def test_the_cache_folder_follows_the_variable_and_else_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDR_BENCH_CACHE", "~/x")
    assert w.cache_folder() == Path.home() / "x"
    monkeypatch.delenv("FDR_BENCH_CACHE")
    assert w.cache_folder().name == "fdr-bench"


def test_packaged_weights_are_found_without_importing_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(tmp_path / "strangers_package/weights/net/model.safetensors").parent
    put(tmp_path / "strangers_package/__init__.py", b"raise SystemExit('imported')")
    put(folder / "card.json", b'{"parameters": 3}')
    monkeypatch.syspath_prepend(str(tmp_path))
    place = "strangers_package/weights/net"
    assert w.locate(Weights(packaged=place, filename="model.safetensors", sha256=SHA)) == folder
    assert packaged_card(place) == {"parameters": 3}
    assert packaged_card("strangers_package/weights/none") == {}
    with pytest.raises(WeightsError, match=r"strangers_package/weights/none is not in this installation.*Train them"):
        w.locate(Weights(packaged="strangers_package/weights/none", manual="Train them"))
    with pytest.raises(WeightsError, match=r"other\.safetensors is missing"):
        w.locate(Weights(packaged=place, filename="other.safetensors"))


def test_a_brought_file_or_trained_folder_has_the_role_weights(tmp_path: Path) -> None:
    file = put(tmp_path / "mine.pth", b"anything")
    assert w.resolve_preset(CARD, "official", file) == {"weights": file}
    folder = put(tmp_path / "trained/card.json", b"{}").parent
    assert w.resolve_preset(CARD, "official", folder) == {"weights": folder}


def test_a_brought_folder_may_hold_the_presets_files_by_name(tmp_path: Path, cache: Path) -> None:
    put(tmp_path / "mine/net.pth")
    put(cache / "weights/net/a.bin")
    found = w.resolve_preset(CARD, "official", tmp_path / "mine")
    assert found == {"weights": tmp_path / "mine/net.pth", "backbone": cache / "weights/net/a.bin"}
    put(tmp_path / "mine/net.pth", b"damaged")
    with pytest.raises(WeightsError, match="damaged or another file"):
        w.resolve_preset(CARD, "official", tmp_path / "mine")


def test_an_unfit_path_and_an_unknown_preset_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"no weights folder of net; expected model\.safetensors.*net\.pth and a\.bin"
    ):
        w.resolve_preset(CARD, "official", tmp_path)
    with pytest.raises(WeightsError, match=r"there is no .*nothing"):
        w.resolve_preset(CARD, "official", tmp_path / "nothing")
    with pytest.raises(UsageError, match="Did you mean 'official'"):
        w.resolve_preset(CARD, "oficial")


def test_a_digest_is_of_contents_and_names_inside_not_of_places(tmp_path: Path) -> None:
    one, two = put(tmp_path / "a/x/f"), put(tmp_path / "b/x/f")
    assert w.digest([one.parent]) == w.digest([two.parent])
    assert w.digest([one]) == w.digest([put(tmp_path / "g")])
    put(two.parent / "h")
    assert w.digest([one.parent]) != w.digest([two.parent])
    assert w.digest([put(tmp_path / "g", b"other")]) != w.digest([one])


def test_the_sha256_of_a_large_file_is_remembered_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large"
    with path.open("wb") as stream:
        stream.truncate(1 << 26)
    first = w.file_sha256(path)
    assert first == hashlib.sha256(bytes(1 << 26)).hexdigest()
    monkeypatch.setattr(w, "_hash", lambda path: "hashed again")
    assert w.file_sha256(path) == first
    with path.open("r+b") as stream:
        stream.write(b"1")
    assert w.file_sha256(path) == "hashed again"


FETCH = """
import sys
from fdr_bench.errors import WeightsError
from fdr_bench.types import Weights
from fdr_bench.weights import locate
sha256 = sys.argv[1] if len(sys.argv) > 1 else None
weights = Weights(hub="me/model", revision="v1", filename="a.bin", sha256=sha256 or None, bytes=1_700_000_000)
for download in ("offline" not in sys.argv, False):
    try:
        print(locate(weights, detector="net", download=download).read_bytes() == b"weights " * 100)
    except WeightsError as error:
        print(error)
"""


def fetch(url: str, home: Path, *words: str) -> list[str]:
    """Locate the hub's file in a fresh interpreter, as huggingface_hub reads its variables once."""
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run([sys.executable, "-c", FETCH, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_hub_files_are_fetched_once_at_their_revision_and_verified(tmp_path: Path) -> None:
    with serving({"me/model/resolve/v1/a.bin": CONTENT}) as hub:
        assert fetch(hub.url, tmp_path / "hf", SHA) == ["True", "True"]
        fetched = hub.asked.count("GET /me/model/resolve/v1/a.bin")
        assert fetched
        assert fetch(hub.url, tmp_path / "hf", SHA) == ["True", "True"]
        assert hub.asked.count("GET /me/model/resolve/v1/a.bin") == fetched


def test_a_hub_file_that_is_not_what_the_card_names_is_not_used(tmp_path: Path) -> None:
    with serving({"me/model/resolve/v1/a.bin": CONTENT[::-1]}) as hub:
        assert all("damaged or another file" in line for line in fetch(hub.url, tmp_path / "hf", SHA))


def test_without_a_sha256_the_hubs_own_is_what_a_file_must_have(tmp_path: Path) -> None:
    with serving({"me/model/resolve/v1/a.bin": CONTENT}, etag="0" * 64) as hub:
        assert all("expected 000000" in line for line in fetch(hub.url, tmp_path / "hf", ""))


def test_an_unreachable_hub_or_a_missing_file_says_what_to_do(tmp_path: Path, cache: Path) -> None:
    with serving({}) as hub:
        said, offline = fetch(hub.url, tmp_path / "hf", SHA)
    assert "could not be downloaded" in said and "1.7 GB" in said and str(cache / "weights/net/a.bin") in said
    assert "is not on this machine yet" in offline


@pytest.mark.slow  # huggingface_hub tries again a few times
def test_an_unreachable_hub_says_what_to_do(tmp_path: Path) -> None:
    with serving({}) as hub:
        url = hub.url
    said, _ = fetch(url, tmp_path / "hf", SHA)
    assert "could not be downloaded" in said


@pytest.mark.parametrize(
    "steps",
    [
        (),
        (Resize(256), CenterCrop(224)),
        (Resize((256, 128), "bicubic"), Tile(224), DropOdd(), Reflect(9)),
        (OpenCVResize(224), CenterCrop(224, half="down"), OpenCVResize((2, 3), "bicubic")),
        (TensorResize((256, 128), antialias=True),),
    ],
)
def test_a_view_survives_being_written(steps: tuple[Step, ...]) -> None:
    view = View(steps=steps, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
    assert view_from_json(view_to_json(view)) == view


def test_the_order_and_divisor_of_a_view_survive_and_older_cards_have_neither() -> None:
    view = View(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), order="bgr", divisor=1.0)
    told = view_to_json(view)
    assert view_from_json(told) == view
    older = {name: value for name, value in told.items() if name not in ("order", "divisor")}
    assert (view_from_json(older).order, view_from_json(older).divisor) == ("rgb", 255.0)
    with pytest.raises(ValueError, match="expected 'rgb' or 'bgr'"):
        view_from_json(told | {"order": "grb"})


def test_a_folder_without_a_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"card\.json cannot be read"):
        read_card(tmp_path)
