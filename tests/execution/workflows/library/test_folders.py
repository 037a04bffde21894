"""Folders: paths stay inside, links are not followed, and a write replaces what it names or nothing."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.workflows.nodes import folders, stores
from execution.workflows.nodes.exceptions import ContentMissing, FileTaken, FolderMissing, PathRefused


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "../a", "a/../../b", "a/..", "/etc/passwd", "~/a", "C:/a", "a\\b", "a\0b", "a\nb", ".git/hooks/post-commit",
     "a/.GIT/config", ".harvest/deployed.json", "a" * 300],
)  # fmt: skip
def test_path_that_leaves_is_refused(path):
    """Nothing that climbs, starts elsewhere or means a tool's own folder is taken."""
    with pytest.raises(PathRefused):
        folders.checked(path)


@pytest.mark.parametrize("path", ["a", "a/b.py", "a b/ü.md", "...", "a..b", ".github/workflows/ci.yml"])
def test_path_inside_is_taken(path):
    """Unusual is not wrong."""
    assert folders.checked(path).as_posix() == path


@given(st.lists(st.sampled_from(["..", ".", "a", "b", "", "/", "~"]), max_size=6).map("/".join))
def test_checked_path_never_leaves(path):
    """Whatever is made of dots and slashes, a path that passes lies below its folder."""
    try:
        found = folders.checked(path)
    except PathRefused:
        return
    assert os.path.normpath(f"/top/x/{found}").startswith("/top/x/")


def test_write_makes_folders_and_is_read(tmp_path):
    """A file is written with the folders that it needs."""
    folders.write(tmp_path / "new", "a/b/c.txt", b"one", over=None)
    assert folders.read(tmp_path / "new", "a/b/c.txt") == b"one"
    assert os.listdir(tmp_path / "new/a/b") == ["c.txt"], "no draft is left"


def test_write_over_nothing_takes_no_file(tmp_path):
    """A file that came in between stays as it is."""
    (tmp_path / "a").write_text("theirs")
    with pytest.raises(FileTaken, match="was not written by this"):
        folders.write(tmp_path, "a", b"ours", over=None)
    assert (tmp_path / "a").read_text() == "theirs"
    assert os.listdir(tmp_path) == ["a"]


def test_write_over_another_digest_is_refused(tmp_path):
    """Only what was named is replaced; its permissions stay."""
    (tmp_path / "a").write_text("one")
    os.chmod(tmp_path / "a", 0o700)
    folders.write(tmp_path, "a", b"two", over=folders.digest(b"one"))
    with pytest.raises(FileTaken, match="changed by somebody else"):
        folders.write(tmp_path, "a", b"three", over=folders.digest(b"one"))
    assert (tmp_path / "a").read_text() == "two"
    assert os.stat(tmp_path / "a").st_mode & 0o777 == 0o700


@pytest.mark.parametrize("inner", [True, False])
def test_link_is_never_followed(tmp_path, inner):
    """Neither a link on the way nor one at the end is written or read through."""
    root, other = tmp_path / "root", tmp_path / "root/inner" if inner else tmp_path / "other"
    root.mkdir()
    other.mkdir()
    (other / "secret").write_text("secret")
    os.symlink(other, root / "folder")
    os.symlink(other / "secret", root / "file")
    for path in ("folder/secret", "folder/new", "file"):
        with pytest.raises(PathRefused):
            folders.write(root, path, b"x", over=folders.digest(b"secret"))
        with pytest.raises(PathRefused):
            folders.read(root, path)
    assert (other / "secret").read_text() == "secret"
    assert os.listdir(other) == ["secret"]


def test_device_is_no_file(tmp_path):
    """A pipe does not hold the worker up."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PathRefused, match="no regular file"):
        folders.read(tmp_path, "pipe")
    assert folders.walk(tmp_path).files == []


def test_escaping_path_is_refused_below_as_well(tmp_path):
    """Who forgets to check a path is refused all the same."""
    for path in ("../a", "/etc/passwd"):
        with pytest.raises(PathRefused):
            folders.read(tmp_path, path)


def test_walk_passes_over_tools_and_links(tmp_path):
    """The tree is what people wrote."""
    for path in ("a.py", "b/c.py", ".git/config", "node_modules/x/y.js", "b/__pycache__/c.pyc"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x")
    os.symlink(tmp_path, tmp_path / "loop")
    os.symlink(tmp_path / "a.py", tmp_path / "b/link.py")
    found = folders.walk(tmp_path)
    assert (found.files, found.links) == (["a.py", "b/c.py"], ["loop", "b/link.py"])
    assert folders.walk(tmp_path, include=["**/*.py"], exclude=["b/*"]).files == ["a.py"]


def test_folder_that_is_missing_is_said():
    """A mistyped root is an error, not an empty tree."""
    with pytest.raises(FolderMissing, match="'/no/such'"):
        folders.existing("/no/such")


def test_store_gives_back_what_it_kept(store):
    """Keeping twice is keeping once, and what was spoilt is not given out."""
    digest = stores.keep(store, b"text")
    assert stores.keep(store, b"text") == digest
    assert stores.kept(store, digest) == b"text"
    with open(f"{store}/{digest[:2]}/{digest}", "wb") as file:
        file.write(b"spoilt")
    with pytest.raises(ContentMissing):
        stores.kept(store, digest)
    assert stores.kept(store, stores.keep(store, b"text")) == b"text"


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "0" * 64, "Z" * 64])
def test_store_knows_no_other_digest(store, digest):
    """A digest is a digest, not a path."""
    stores.keep(store, b"text")
    with pytest.raises(ContentMissing):
        stores.kept(store, digest)
