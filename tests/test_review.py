"""The page to look through scored lesions: what it lists, whom it answers, and its keys."""

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import numpy as np
import pytest
import review
from kit import chromium
from PIL import Image

from mtl_jax.nouns import InputError
from mtl_jax.review.scored import Filter, chosen, read

page = pytest.importorskip("mtl_jax.review.page", reason="the [review] extra is not installed")

HOSTILE = "<script>document.title='taken'</script>&\"'"
BOTH = {"mttl": (0.9, 0.2, 0.5), "sttl": (0.4, 0.3, 0.5)}  # scores of three lesions


def view(name: str, score: float) -> dict:
    return {
        **{"image": f"{HOSTILE}.dcm", "view": "CC", "laterality": "L", "score": score},
        **{"region": name, "evidence": name},
    }


def scored(folder: Path) -> Path:
    """Two models' scores of three lesions, the first with a hostile name."""
    for approach, scores in BOTH.items():
        home = folder / approach
        (home / "pictures").mkdir(parents=True)
        lesions = []
        for i, score in enumerate(scores):
            name = f"pictures/{i:04d}-region.png"
            Image.fromarray(np.full((256, 256), 60 * i, np.uint8)).save(home / name)
            spread = 0.1 if i == 2 else 0.0
            lesions.append(
                {
                    "case_id": HOSTILE if i == 0 else f"c{i}",
                    "lesion_id": "1",
                    "truth": ("malignant", "benign", "")[i],
                    "score": score,
                    **{"probability": None, "percentile_benign": 50.0},
                    **{"percentile_malignant": None, "nearest": []},
                    "flags": [HOSTILE] if i == 0 else [],
                    "views": [view(name, score - spread), view(name, score + spread)],
                }
            )
        model = {"run": f"{approach}-run", "approach": approach, "sha256": "ab" * 32}
        said = {"use": "For research only, not for clinical use.", "phantom": True}
        said |= {"model": model, "task": "sfm", "lesions": lesions}
        (home / "scores.json").write_text(json.dumps(said))
    (folder / "secret.txt").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scored(tmp_path_factory.mktemp("scored"))


def numbers(folder: Path, **asked: object) -> list[int]:
    return [one.number for one in chosen(read(folder).lesions, Filter(**asked))]


def test_filters_and_orders(folder: Path) -> None:
    assert numbers(folder) == [0, 1, 2]
    assert numbers(folder, truth="benign") == [1] and numbers(folder, truth="unknown") == [2]
    assert numbers(folder, low=0.5) == [0, 2] and numbers(folder, high=0.3) == [1]
    assert numbers(folder, task="dm") == [] and numbers(folder, flagged=True) == [0]
    assert numbers(folder, order="score") == [0, 2, 1]
    assert numbers(folder, order="views") == [2, 0, 1]
    assert numbers(folder, order="models") == [0, 1, 2]
    first = read(folder).lesions[0]
    assert first.models_differ == pytest.approx(0.5) and len(first.seen) == 2
    assert len(read(folder / "sttl").lesions[0].seen) == 1


def test_what_is_no_scored_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert review.main([str(tmp_path / "no")]) == 2
    assert review.main([str(tmp_path)]) == 2
    (tmp_path / "scores.json").write_text('{"use": "x", "phantom": 1, "lesions": [{}]}')
    assert review.main([str(tmp_path)]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert "no such folder" in first and "run tools/score.py" in second and "damaged" in third
    server = review.make_server(folder, 0)
    with pytest.raises(InputError, match="choose another"):
        review.make_server(folder, server.port)
    server.server_close()


def test_it_answers_this_machine_alone_and_shows_nothing_else(folder: Path) -> None:
    client = page.make_app(read(folder)).test_client()
    found = client.get("/", headers={"Host": "127.0.0.1:8017"})
    assert found.status_code == 200 and HOSTILE not in found.text and "&lt;script&gt;" in found.text
    assert "script-src 'self'" in found.headers["Content-Security-Policy"]
    assert "not for clinical use" in found.text and "Phantom model" in found.text
    assert client.get("/", headers={"Host": "elsewhere.example"}).status_code == 400
    assert client.post("/", headers={"Host": "localhost"}).status_code == 405
    for path in ("/lesion/3", "/picture/mttl/scores.json", "/picture/mttl/../secret.txt"):
        assert client.get(path, headers={"Host": "localhost"}).status_code == 404
    for path in ("/picture/mttl/..%2f..%2fsecret.txt", "/picture/nobody/pictures/0000-region.png"):
        assert client.get(path, headers={"Host": "localhost"}).status_code == 404
    found = client.get("/picture/mttl/pictures/0000-region.png", headers={"Host": "localhost"})
    assert found.status_code == 200 and found.mimetype == "image/png"
    odd = client.get("/?low=x&order=nothing&task=%3Cb%3E", headers={"Host": "localhost"})
    assert odd.status_code == 200 and "No lesion is like that" in odd.text


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    server = review.make_server(folder, 0)
    assert server.host == "127.0.0.1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.skipif(not chromium.PROGRAM, reason="Chromium is not installed")
def test_a_reader_goes_through_the_lesions_by_keys(address: str, tmp_path: Path) -> None:
    with chromium.running(tmp_path) as browser:
        browser.open(address + "?order=score")
        assert browser.value("document.title") == "Review of 3 lesions, research only"
        assert browser.value("document.querySelectorAll('img').length") == 3
        browser.until("[...document.images].every(i => i.complete && i.naturalWidth == 256)")
        browser.press("j")
        browser.press("ArrowDown")
        browser.press("k")
        browser.press("Enter")
        browser.until("location.pathname == '/lesion/0' && document.readyState == 'complete'")
        assert browser.value("document.querySelector('h1').textContent").count("<script>") == 1
        assert browser.value("document.title") == "Lesion 1, research only"
        assert browser.value("document.querySelectorAll('figure img').length") == 8
        for key, place in (("j", "/lesion/2"), ("j", "/lesion/1"), ("k", "/lesion/2")):
            browser.press(key)
            browser.until(f"location.pathname == '{place}' && document.readyState == 'complete'")
        browser.press("Escape")
        browser.until("location.pathname == '/' && location.search == '?order=score'")
