"""The workspace is found where that is unambiguous, and never confused with that of another folder."""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.errors import input_error

from winnow.curate.workspace import Workspace, find_workspace, open_workspace


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "data" / "photos").mkdir(parents=True)
    return tmp_path / "data" / "photos"


def test_it_is_named_after_the_folder_and_lies_in_the_current_one(photos, tmp_path):
    assert find_workspace(photos) == Workspace(tmp_path / "photos.winnow", photos, "folder")
    assert find_workspace(Path("data/photos/")) == find_workspace(photos)
    assert not (tmp_path / "photos.winnow").exists()


def test_a_dot_is_named_after_the_current_folder(photos, monkeypatch):
    monkeypatch.chdir(photos)
    with input_error(r"photos\.winnow would lie inside the pictures$", "workspace-outside"):
        find_workspace(Path())
    assert find_workspace(Path(), photos.parent / "w").images == photos


def test_a_saved_workspace_is_found_again(photos, tmp_path):
    Workspace(tmp_path / "photos.winnow", photos, "parent").save()
    assert json.loads((tmp_path / "photos.winnow" / "workspace.json").read_text()) == {
        "format": 1,
        "images": str(photos),
        "labels": "parent",
    }
    assert find_workspace(photos).labels == "parent"
    assert os.listdir(tmp_path / "photos.winnow") == ["workspace.json"]


def test_the_only_workspace_in_the_current_folder_is_the_default(photos, tmp_path):
    with input_error("no folder of pictures is named, and the current folder has no workspace", "images"):
        find_workspace(None)
    (tmp_path / "empty.winnow").mkdir()  # no workspace: nothing was ever saved in it
    find_workspace(photos).save()
    assert find_workspace(None) == find_workspace(photos)
    (tmp_path / "other").mkdir()
    find_workspace(tmp_path / "other").save()
    with input_error(r"several workspaces here \(other\.winnow, photos\.winnow\)$", "name-images"):
        find_workspace(None)


def test_environment_variables_give_the_defaults(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("WINNOW_IMAGES", str(photos))
    assert find_workspace(None).folder == tmp_path / "photos.winnow"
    monkeypatch.setenv("WINNOW_WORKSPACE", str(tmp_path / "w"))
    assert find_workspace(None) == Workspace(tmp_path / "w", photos)
    assert find_workspace(photos, tmp_path / "v").folder == tmp_path / "v"
    find_workspace(None).save()
    monkeypatch.delenv("WINNOW_IMAGES")
    assert find_workspace(None).images == photos


def test_a_new_workspace_needs_its_pictures_named(tmp_path):
    with input_error("new is not a workspace yet$", "name-images"):
        find_workspace(None, tmp_path / "new")


def test_another_folder_of_the_same_name_is_refused(photos, tmp_path):
    find_workspace(photos).save()
    (tmp_path / "more" / "photos").mkdir(parents=True)
    with input_error("belongs to", "another-workspace") as caught:
        find_workspace(tmp_path / "more" / "photos")
    assert str(caught.value) == (
        f"{tmp_path / 'photos.winnow'} belongs to {photos}, not to {tmp_path / 'more' / 'photos'}"
    )


def test_links_to_one_folder_share_a_workspace(photos, tmp_path):
    find_workspace(photos).save()
    (tmp_path / "link").symlink_to(photos)
    assert find_workspace(tmp_path / "link", tmp_path / "photos.winnow").images == photos


@pytest.mark.parametrize(
    ("name", "message"), [("absent", "does not exist"), ("file", "is a file, not a folder of pictures")]
)
def test_images_must_be_a_folder(tmp_path, name, message):
    (tmp_path / "file").write_text("x")
    with input_error(f"{name} {message}$", "name-images"):
        find_workspace(tmp_path / name)


@pytest.mark.parametrize("inside", ["w", "deep/er", "."])
def test_a_workspace_inside_the_pictures_is_refused(photos, inside):
    with input_error("would lie inside the pictures$", "workspace-outside"):
        find_workspace(photos, photos / inside)


def test_the_home_folder_may_be_written_as_a_tilde(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_workspace(Path("~/data/photos"), Path("~/w")) == Workspace(tmp_path / "w", photos)


WRONG_TYPES = ('{"format": 1, "images": "/x", "labels": 5}', '{"format": 1, "images": ["/x"], "labels": "folder"}')


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"format": "x"}', '{"format": 1}', b"\xff\xfe", *WRONG_TYPES]
)
def test_a_damaged_file_is_named(photos, content):
    workspace = find_workspace(photos)
    workspace.save()
    file = workspace.folder / "workspace.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with input_error(r"json cannot be read \(\w+\)$", "damaged-workspace"):
        find_workspace(photos)


def test_a_newer_format_is_refused(photos):
    workspace = find_workspace(photos)
    workspace.save()
    (workspace.folder / "workspace.json").write_text('{"format": 2, "images": "/x", "labels": "folder"}')
    with input_error(r"written by a newer Winnow \(format 2\)$", "update"):
        find_workspace(photos)


def test_a_folder_whose_name_is_not_utf8_has_a_workspace(tmp_path):
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    find_workspace(odd).save()
    assert find_workspace(None) == find_workspace(odd)
    assert find_workspace(odd).folder.name == "caf%E9.winnow"


def test_control_characters_of_the_folder_are_not_in_the_name_of_the_workspace(tmp_path):
    (tmp_path / "two\nlines").mkdir()
    assert find_workspace(tmp_path / "two\nlines") == Workspace(tmp_path / "two_lines.winnow", tmp_path / "two\nlines")


@pytest.mark.parametrize("name", ["a\tb", os.fsdecode(b"caf\xe9")])
def test_a_workspace_where_lance_cannot_write_is_refused(photos, tmp_path, name):
    with input_error("has control characters or bytes that are not UTF-8$", "workspace"):
        find_workspace(photos, tmp_path / name / "w")


def test_pictures_that_moved_keep_their_workspace(photos, tmp_path):
    Workspace(tmp_path / "photos.winnow", photos, "parent").save()
    (tmp_path / "new").mkdir()
    photos.rename(tmp_path / "new/photos")
    assert find_workspace(tmp_path / "new/photos") == Workspace(
        tmp_path / "photos.winnow", tmp_path / "new/photos", "parent"
    )
    (tmp_path / "new/photos").rename(tmp_path / "new/pictures")
    moved = find_workspace(tmp_path / "new/pictures", tmp_path / "photos.winnow")
    assert moved == Workspace(tmp_path / "photos.winnow", tmp_path / "new/pictures", "parent")


def test_an_unchanged_file_is_not_written_again(photos):
    workspace = find_workspace(photos)
    workspace.save()
    before = (workspace.folder / "workspace.json").stat()
    workspace.save()
    after = (workspace.folder / "workspace.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_many_may_save_at_once(photos, tmp_path):
    def save(rule):
        for _ in range(20):
            Workspace(tmp_path / "w", photos, rule).save()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(save, "abcd"))  # raises what one of them raised
    assert find_workspace(photos, tmp_path / "w").labels in "abcd"
    assert os.listdir(tmp_path / "w") == ["workspace.json"]


def test_a_folder_that_cannot_be_written_to_is_refused(photos, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with input_error("Not a directory$", "workspace"):
        Workspace(tmp_path / "file" / "w", photos).save()


def test_a_lock_that_cannot_be_created_is_refused(photos):
    workspace = find_workspace(photos)
    workspace.save()
    (workspace.folder / ".lock").mkdir()
    with input_error("Is a directory$|Permission denied$", "workspace"), workspace.lock():
        pass


def test_an_existing_workspace_is_opened_by_its_folder_whatever_the_environment_says(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("WINNOW_IMAGES", "/nowhere")
    find_workspace(photos, tmp_path / "w").save()
    assert open_workspace(tmp_path / "w") == Workspace(tmp_path / "w", photos)
    photos.rename(tmp_path / "moved")
    with input_error(f"the pictures are no longer in {photos}$", "moved-images"):
        open_workspace(tmp_path / "w")
    with input_error("moved is not a workspace$", "workspace-of-run"):
        open_workspace(tmp_path / "moved")


@pytest.mark.slow
def test_a_long_wait_for_the_lock_is_reported(photos):
    workspace = find_workspace(photos)
    workspace.save()
    reported = threading.Event()
    events = []

    def second():
        with workspace.lock(lambda message: (events.append(message), reported.set())):
            events.append("in")

    with workspace.lock():
        other = threading.Thread(target=second)
        other.start()
        assert reported.wait(10)
        assert events == [f"waiting for another winnow command on {workspace.folder}"]
    other.join()
    assert events[1:] == ["in"]


def test_one_command_at_a_time_holds_the_lock(photos):
    workspace = find_workspace(photos)
    workspace.save()
    order = []

    def second():
        with workspace.lock():
            order.append("second")

    with workspace.lock():
        other = threading.Thread(target=second)
        other.start()
        other.join(0.2)
        order.append("first")
    other.join()
    assert order == ["first", "second"]
