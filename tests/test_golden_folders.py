"""Where figures of official code come from: a path that is mistyped must not look like agreement."""

from __future__ import annotations

import pytest

from tests.goldens import HERE, VARIABLE, folders, images_of


def test_a_named_folder_comes_behind_our_own(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert folders() == [HERE]
    (tmp_path / "npr.json").write_text("{}")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert folders() == [HERE, tmp_path]


def test_a_named_folder_without_figures_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "goldnes"))
    with pytest.raises(pytest.UsageError, match=r"goldnes': there is no such folder"):
        folders()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(pytest.UsageError, match=r"there is no \.json in it"):
        folders()


def test_a_folder_without_images_of_its_own_uses_ours(tmp_path):
    assert images_of(tmp_path / "npr.json") == HERE / "images"
    (tmp_path / "images").mkdir()
    assert images_of(tmp_path / "npr.json") == tmp_path / "images"
