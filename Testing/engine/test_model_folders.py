import json
import subprocess
import sys
from pathlib import Path

import pytest
from microbleeds import model_folders
from microbleeds.errors import ModelError
from microbleeds.model_folders import (
    detection_models,
    find_model,
    installed_models,
    new_user_model,
    read_card,
    remove_model,
    user_models_folder,
)
from microbleeds.weights import DEFAULT_MODEL


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CMBDETECT_MODELS", str(tmp_path / "deep" / "models"))
    return tmp_path / "deep" / "models"


def write_card(folder, **card):
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(json.dumps(card))


def test_the_users_folder_without_the_variable(monkeypatch, tmp_path):
    monkeypatch.delenv("CMBDETECT_MODELS")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    assert user_models_folder() == tmp_path / ".local" / "share" / "cmbdetect" / "models"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("APPDATA", str(tmp_path / "Roaming"))
    assert user_models_folder() == tmp_path / "Roaming" / "cmbdetect" / "models"


def test_installed_are_the_bundled_and_the_users(folder):
    bundled = installed_models()
    assert DEFAULT_MODEL in [model.name for model in bundled] and all(model.is_bundled for model in bundled)
    write_card(folder / "site", kind="detection", title="Site")
    write_card(folder / ".importing-1", kind="detection")
    (folder / "no card").mkdir()
    own = [model for model in installed_models() if not model.is_bundled]
    assert [(model.name, model.folder) for model in own] == [("site", folder / "site")]
    assert find_model("site") == own[0]
    with pytest.raises(ModelError, match="no model other; .*brain-mask.*site.$"):
        find_model("other")


def test_only_detection_models_are_offered_and_a_damaged_one_does_no_harm(folder):
    write_card(folder / "site", kind="detection", title="Site")
    write_card(folder / "untitled", kind="detection")
    write_card(folder / "mask", kind="mask")
    write_card(folder / "damaged", kind="detection")
    (folder / "damaged" / "model.json").write_text("{")
    write_card(folder / DEFAULT_MODEL, kind="detection", title="Hides the bundled one")
    offered = dict(detection_models())
    assert {"site": "Site", "untitled": "untitled"}.items() <= offered.items()
    assert not {"mask", "damaged", "brain-mask"} & set(offered) and "Hides" not in offered[DEFAULT_MODEL]
    assert detection_models()[0][0] == DEFAULT_MODEL and find_model(DEFAULT_MODEL).is_bundled


def test_a_new_model_appears_whole_or_not_at_all(folder):
    with pytest.raises(RuntimeError), new_user_model("mine") as staged:
        write_card(staged / "inner")
        raise RuntimeError
    assert not list(folder.iterdir())
    with new_user_model("mine") as staged:
        (staged / "model.json").write_text("{}")
        assert not installed_models()[-1].name == "mine"
    assert read_card(folder / "mine") == {} and [path.name for path in folder.iterdir()] == ["mine"]
    assert find_model("mine").folder == folder / "mine"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-x", "a b", ".hidden", DEFAULT_MODEL, "brain-mask",
                                  "mine"])
def test_a_name_must_be_one_and_free(folder, name):
    write_card(folder / "mine")
    with pytest.raises(ModelError, match="--name"), new_user_model(name):
        pytest.fail("a folder was given")
    assert [path.name for path in folder.iterdir()] == ["mine"]


def test_a_folder_that_cannot_be_written_to_is_told(folder):
    folder.parent.mkdir()
    folder.write_text("a file")
    with pytest.raises(ModelError, match="cannot be written to .*CMBDETECT_MODELS"), new_user_model("mine"):
        pytest.fail("a folder was given")


def test_only_the_users_models_are_removed(folder):
    write_card(folder / "mine")
    assert remove_model("mine") == folder / "mine" and not list(folder.iterdir())
    with pytest.raises(ModelError, match="There is no model mine"):
        remove_model("mine")
    for name in (DEFAULT_MODEL, "brain-mask"):
        with pytest.raises(ModelError, match="came with the software"):
            remove_model(name)
        assert find_model(name).folder.is_dir()
    outside = folder.parent / "outside"
    write_card(outside)
    with pytest.raises(ModelError):
        remove_model("../outside")
    assert outside.is_dir()


def test_listing_needs_no_torch():
    code = "import sys; from microbleeds.model_folders import detection_models; print(detection_models()); " \
           "assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(model_folders.__file__).parents[1], check=True)
