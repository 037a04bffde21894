"""harvest-deploy: from Markdown to files, once, inside the target, and over nobody else's work."""

import json
import os
import time
from contextlib import suppress

import pytest

from execution.workflows.nodes import deployments, folders, harvest, headers, markdown, stores
from execution.workflows.nodes.exceptions import ContentMissing, FolderMissing, PathRefused
from tests.execution.workflows.library.walk import REPOSITORY, walk

PAGE = """# A page

```python app/hello.py
def hello():
    return "hello"
```

Text with `code`, and another:

~~~sql title="sql/one.sql"
SELECT 1;
~~~

```json {file=config.json}
{"a": 1}
```

1. in a list

   ```sh
   echo one
   ```

> ```yaml:deep/er/values.yaml
> a: 1
> ```

```text
not code
```

```
nothing said
```
"""


def page(home, text, name="page.md"):
    """Write a document."""
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    (home / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def harvested(home, store, target, **given):
    """Walk through the workflow."""
    given = {"documents": ["."], "root": str(home), "store": store, "target": str(target)} | given
    return walk("harvest-deploy", **given)


def blocks_of(home, store, *documents):
    """Return what is extracted."""
    return harvest.extract(documents=list(documents) or ["."], root=str(home), store=store)


def test_blocks_are_found_with_place_and_path(home, store):
    """Fences in lists and quotes count, each with language, path and line; what is no code is left out."""
    page(home, PAGE)
    found = blocks_of(home, store)
    assert [(one["language"], one["path"], one["line"]) for one in found["blocks"]] == [
        ("python", "app/hello.py", 3),
        ("sql", "sql/one.sql", 10),
        ("json", "config.json", 14),
        ("shell", "page/04.sh", 20),
        ("yaml", "deep/er/values.yaml", 24),
    ]
    assert found["left_out"] == {"text": 1, "no language": 1}
    assert stores.kept(store, found["blocks"][3]["digest"]) == b"echo one\n"
    assert stores.kept(store, found["blocks"][4]["digest"]) == b"a: 1\n"


def test_page_is_deployed(home, store, target):
    """The files are there with their headers, and the report says so."""
    page(home, PAGE)
    done = harvested(home, store, target, context={"project": "celeriac"})
    assert done["outputs"]["ok"], done["outputs"]["text"]
    assert (target / "app/hello.py").read_text() == (
        '# harvested from page.md, line 3\n# project: celeriac\n# end of header\ndef hello():\n    return "hello"\n'
    )
    assert (target / "sql/one.sql").read_text().startswith("-- harvested from page.md, line 10\n")
    assert json.loads((target / "config.json").read_text()) == {"a": 1}
    assert "wrote 5, replaced 0, kept 0, refused 0" in done["outputs"]["text"]


def test_second_harvest_writes_nothing(home, store, target):
    """A file is written once for what it holds."""
    page(home, PAGE)
    harvested(home, store, target)
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*.*") if ".harvest" not in path.parts}
    done = harvested(home, store, target)
    assert (done["deploy"]["kept_count"], done["deploy"]["written_count"]) == (5, 0)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_changed_document_replaces_its_own_file(home, store, target):
    """What the harvest wrote and nobody touched follows its document; the old content stays in the store."""
    page(home, PAGE)
    harvested(home, store, target)
    old = (target / "app/hello.py").read_bytes()
    page(home, PAGE.replace('"hello"', '"goodbye"'))
    done = harvested(home, store, target)
    assert (done["deploy"]["replaced_count"], done["deploy"]["kept_count"]) == (1, 4)
    assert "goodbye" in (target / "app/hello.py").read_text()
    assert stores.kept(store, folders.digest(old)) == old


def test_file_of_somebody_else_is_not_overwritten(home, store, target):
    """Not one that was there, and not one that was changed since."""
    page(home, PAGE)
    (target / "app").mkdir(parents=True)
    (target / "app/hello.py").write_text("mine")
    done = harvested(home, store, target)
    assert done["deploy"]["refused"] == [
        {"path": "app/hello.py", "document": "page.md", "line": 3,
         "reason": "is there already, and was not deployed by a harvest"},
    ]  # fmt: skip
    assert not done["outputs"]["ok"]
    (target / "sql/one.sql").write_text("SELECT 2;")
    page(home, PAGE.replace("SELECT 1", "SELECT 3"))
    again = harvested(home, store, target)
    assert {one["path"]: one["reason"] for one in again["deploy"]["refused"]}["sql/one.sql"] == (
        "was changed since it was deployed"
    )
    assert (target / "app/hello.py").read_text() == "mine"
    assert (target / "sql/one.sql").read_text() == "SELECT 2;"


def test_same_content_of_somebody_else_is_not_claimed(home, store, target):
    """A file that was there already with the same content stays somebody else's."""
    page(home, PAGE)
    target.mkdir()
    (target / "config.json").write_text('{"a": 1}\n')
    assert harvested(home, store, target)["deploy"]["kept_count"] == 1
    page(home, PAGE.replace('{"a": 1}', '{"a": 2}'))
    assert [one["path"] for one in harvested(home, store, target)["deploy"]["refused"]] == ["config.json"]


def test_removed_file_is_written_again(home, store, target):
    """What is missing is put there."""
    page(home, PAGE)
    harvested(home, store, target)
    (target / "config.json").unlink()
    assert harvested(home, store, target)["deploy"]["written_count"] == 1


def test_dry_run_touches_nothing(home, store, target):
    """It says what would be written, and not even the folder is made."""
    page(home, PAGE)
    done = harvested(home, store, target, dry_run=True)
    assert done["deploy"]["written_count"] == 5
    assert "would write 5" in done["outputs"]["text"]
    assert not target.exists()


@pytest.mark.parametrize(
    "path", ["../out.py", "/srv/out.py", "a/../../out.py", "~/out.py", ".git/hooks/x.py", ".harvest/deployed.py"]
)
def test_path_that_leaves_is_refused(home, store, target, path):
    """A document cannot write outside of the target; the other blocks are deployed."""
    page(home, f"```python {path}\nx = 1\n```\n\n```python in.py\ny = 1\n```\n")
    done = harvested(home, store, target)
    assert (done["deploy"]["refused_count"], done["deploy"]["written_count"]) == (1, 1)
    assert not done["outputs"]["ok"]
    assert sorted(one.name for one in target.parent.rglob("out.py")) == []


def test_link_out_of_the_target_is_refused(home, store, target, tmp_path):
    """Neither a linked folder nor a linked file leads out; nor does a link that comes after the plan."""
    (tmp_path / "other").mkdir()
    target.mkdir()
    os.symlink(tmp_path / "other", target / "folder")
    os.symlink(tmp_path / "other/made.py", target / "file.py")
    page(home, "```python folder/a.py\nx = 1\n```\n```python file.py\nx = 1\n```\n```python late/b.py\nx = 1\n```\n")
    found = blocks_of(home, store)
    injected = harvest.inject(blocks=found["blocks"], store=store)
    planned = harvest.checkpoint(blocks=injected["blocks"], target=str(target), store=store)
    os.symlink(tmp_path / "other", target / "late")
    done = harvest.deploy(manifest=planned["manifest"], store=store)
    assert (planned["refused_count"], done["refused_count"]) == (2, 3)
    assert os.listdir(tmp_path / "other") == []


def test_linked_record_is_refused(home, store, target, tmp_path):
    """The record itself does not lead out either."""
    page(home, PAGE)
    (tmp_path / "other").mkdir()
    target.mkdir()
    os.symlink(tmp_path / "other", target / ".harvest")
    with pytest.raises(PathRefused):
        harvested(home, store, target)
    assert os.listdir(tmp_path / "other") == []


def test_file_that_came_after_the_plan_is_not_overwritten(home, store, target):
    """The write decides, not the plan."""
    page(home, PAGE)
    injected = harvest.inject(blocks=blocks_of(home, store)["blocks"], store=store)
    planned = harvest.checkpoint(blocks=injected["blocks"], target=str(target), store=store)
    (target / "app").mkdir(parents=True)
    (target / "app/hello.py").write_text("mine")
    done = harvest.deploy(manifest=planned["manifest"], store=store)
    assert (planned["refused_count"], done["refused_count"], done["written_count"]) == (0, 1, 4)
    assert (target / "app/hello.py").read_text() == "mine"


def test_two_blocks_for_one_path_are_refused(home, store, target):
    """Neither wins; the same block twice is one."""
    page(
        home,
        "```python a.py\nx = 1\n```\n```python a.py\nx = 2\n```\n```json b.json\n1\n```\n```json ./b.json\n1\n```\n",
    )
    done = harvested(home, store, target)
    assert done["deploy"]["refused"][0]["reason"] == "is claimed by different blocks: page.md:1, page.md:4"
    assert done["deploy"]["written_count"] == 1


@pytest.mark.parametrize("moment", range(1, 8))
def test_deployment_that_died_is_finished(home, store, target, monkeypatch, moment):
    """Whichever write a worker dies at, the next attempt recognises its own files and ends with all of them."""
    page(home, PAGE)
    harvested(home, store, target)
    page(home, PAGE.replace("hello", "bye").replace("SELECT 1", "SELECT 2").replace("echo one", "echo two"))
    injected = harvest.inject(blocks=blocks_of(home, store)["blocks"], store=store)
    planned = harvest.checkpoint(blocks=injected["blocks"], target=str(target), store=store)
    real, calls = folders.write, []

    def dying(*args, **kwargs):
        calls.append(args)
        if len(calls) == moment:
            raise KeyboardInterrupt
        real(*args, **kwargs)

    for _ in range(2):
        monkeypatch.setattr(folders, "write", dying)
        calls.clear()
        with suppress(KeyboardInterrupt):
            harvest.deploy(manifest=planned["manifest"], store=store)
    monkeypatch.setattr(folders, "write", real)
    done = harvest.deploy(manifest=planned["manifest"], store=store)
    assert done["refused_count"] == 0, done
    assert "bye" in (target / "app/bye.py").read_text()
    assert "SELECT 2" in (target / "sql/one.sql").read_text()
    page(home, PAGE.replace("SELECT 1", "SELECT 4"))
    assert harvested(home, store, target)["deploy"]["refused_count"] == 0


def test_broken_block_holds_the_deployment(home, store, target):
    """Its error has document, line and message; a strict harvest deploys nothing, a lenient one the rest."""
    page(home, PAGE + "\n```python bad.py\nx = 1\ny = = 2\n```\n")
    done = harvested(home, store, target)
    assert done["validate"]["errors"] == [
        {"document": "page.md", "line": 38, "language": "python", "message": "invalid syntax"}
    ]
    assert (done["deploy"], done["outputs"]["ok"]) == (None, False)
    assert "nothing was deployed" in done["outputs"]["text"]
    assert "broken: page.md:38: python: invalid syntax" in done["outputs"]["text"]
    assert not target.exists()
    lenient = harvested(home, store, target, strict=False)
    assert lenient["deploy"]["written_count"] == 5
    assert not (target / "bad.py").exists()


def test_fence_that_is_never_closed_is_broken(home, store):
    """It would have swallowed the rest of the document."""
    page(home, "```python a.py\nx = 1\n\n# and the rest\n")
    page(home, "```python a.py\nx = 1\n```", "closed.md")
    page(home, "> ```python a.py\n> x = 1\n\nafter\n", "quoted.md")
    for name, is_ok in (("page.md", False), ("closed.md", True), ("quoted.md", False)):
        found = harvest.validate(blocks=blocks_of(home, store, name)["blocks"], store=store)
        assert found["ok"] is is_ok, name
    assert found["errors"][0]["message"] == "the fence is never closed"


def test_line_ends_of_other_systems_are_read(home, store, target):
    """CRLF, lone CR and a byte order mark change no block."""
    page(home, b"\xef\xbb\xbf" + PAGE.replace("\n", "\r\n").encode(), "crlf.md")
    page(home, PAGE.encode(), "lf.md")
    crlf, lf = (blocks_of(home, store, name)["blocks"] for name in ("crlf.md", "lf.md"))
    assert [(one["digest"], one["line"]) for one in crlf] == [(one["digest"], one["line"]) for one in lf]


def test_what_is_no_text_is_named_and_passed_over(home, store, target):
    """Binary, another encoding, too large, a link out: each with its reason; the rest is harvested."""
    page(home, PAGE)
    page(home, b"\x00\x01\x02", "binary.md")
    page(home, "ü".encode("latin-1"), "latin.md")
    page(home, "", "empty.md")
    page(home, b" " * (markdown.MOST_BYTES + 1), "large.md")
    os.symlink("/etc/passwd", home / "link.md")
    found = blocks_of(home, store, ".", "link.md")
    assert (found["block_count"], found["document_count"]) == (5, 6)
    assert {one["document"]: one["reason"] for one in found["unreadable"]} == {
        "binary.md": "is binary",
        "latin.md": "is not UTF-8 at byte 0",
        "large.md": f"has {markdown.MOST_BYTES + 1:,} bytes, more than {markdown.MOST_BYTES:,}",
        "link.md": "'link.md' is a link or a device",
    }


def test_empty_folder_is_an_answer(home, store, target):
    """Nothing to harvest is nothing deployed."""
    page(home, "")
    done = harvested(home, store, target)
    assert done["outputs"]["text"].startswith("0 blocks in 1 document")
    assert done["outputs"]["ok"]


def test_document_outside_of_the_root_is_refused(home, store):
    """A harvest reads below its root."""
    for one in ("../x.md", "/etc/passwd"):
        with pytest.raises(PathRefused):
            blocks_of(home, store, one)
    with pytest.raises(markdown.DocumentUnreadable, match=r"no document .* is meant by 'no\*\.md'"):
        blocks_of(home, store, "no*.md")
    with pytest.raises(FolderMissing):
        harvest.extract(documents=["a.md"], root=str(home / "missing"), store=store)


def test_only_some_languages_and_patterns(home, store):
    """What is asked for is harvested."""
    page(home, PAGE, "docs/a.md")
    page(home, PAGE, "docs/deep/b.markdown")
    page(home, PAGE, "other/c.md")
    found = harvest.extract(documents=["docs", "docs/a.md", "other/*.md"], root=str(home), store=store, only=["sql"])
    assert [one["document"] for one in found["blocks"]] == ["docs/a.md", "docs/deep/b.markdown", "other/c.md"]


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ("python", ("python", "")),
        ("python a.py", ("python", "a.py")),
        ("python:a/b.py", ("python", "a/b.py")),
        ('python title="a b.py"', ("python", "a b.py")),
        ("{.python file='x.py' .wide}", ("python", "x.py")),
        ("python hl_lines=3 linenums", ("python", "")),
        ("python doctest", ("python", "")),
        ("js src/a.test.js", ("js", "src/a.test.js")),
        ("sh ../x.sh", ("sh", "../x.sh")),
        ("", ("", "")),
        ("path=a.py", ("", "a.py")),
    ],
)
def test_info_string_is_read(info, said):
    """A second word is a path only if it looks like one."""
    assert markdown._said(info) == said


@pytest.mark.slow
def test_document_of_ten_megabytes_is_harvested(home, store):
    """It takes seconds and gives addresses only."""
    count = 20_000
    page(
        home,
        "\n".join(f"{'text ' * 100}\n\n```python p{n}.py\nx = {n}\n{'y = 1' + chr(10)}```\n" for n in range(count)),
    )
    assert (home / "page.md").stat().st_size > 10_000_000
    begun = time.monotonic()
    found = blocks_of(home, store)
    assert found["block_count"] == count
    assert time.monotonic() - begun < 60


def test_header_is_injected_once():
    """Injecting again replaces the header, whatever it said."""
    for language, sign in (("python", "#"), ("typescript", "//"), ("sql", "--")):
        once = headers.injected(language, "a\n", source="x.md", context={"b": 1})
        assert once == f"{sign} harvested from x.md\n{sign} b: 1\n{sign} end of header\na\n"
        assert headers.injected(language, once, source="x.md", context={"b": 1}) == once
        assert headers.injected(language, once, source="y.md", context={}).splitlines()[1] == f"{sign} end of header"
        assert headers.without(language, once) == "a\n"


def test_header_leaves_the_first_line_first():
    """A program finds what it reads."""
    text = "#!/usr/bin/env python3\n# -*- coding: utf-8 -*-\nprint()\n"
    once = headers.injected("python", text, source="x.md", context={})
    assert once.splitlines()[:3] == ["#!/usr/bin/env python3", "# -*- coding: utf-8 -*-", "# harvested from x.md"]
    assert headers.injected("python", once, source="x.md", context={}) == once
    assert headers.without("python", once) == text


def test_header_is_never_put_into_json():
    """JSON has no comments."""
    assert headers.injected("json", "{}", source="x.md", context={"a": 1}) == "{}"


@pytest.mark.parametrize("sign", ["\n", "\r", "\u2028", "\u2029", "\x0b", "\x85", "\x00", "\x1b"])
def test_context_cannot_leave_its_comment(sign):
    """Whatever a value holds, it stays on its line."""
    for language in ("python", "javascript", "sql", "shell", "yaml", "toml"):
        whole = headers.injected(language, "", source=f"a{sign}b", context={f"c{sign}d": f"e{sign}import os"})
        assert len([line for line in whole.splitlines() if line]) == 3
        assert all(line[:2] in ("# ", "//", "--") for line in whole.splitlines())


def test_manifest_is_what_was_planned(home, store, target):
    """A manifest that was changed, or that another store holds, is not deployed."""
    page(home, PAGE)
    injected = harvest.inject(blocks=blocks_of(home, store)["blocks"], store=store)
    planned = harvest.checkpoint(blocks=injected["blocks"], target=str(target), store=store)
    path = f"{store}/{planned['manifest'][:2]}/{planned['manifest']}"
    with open(path, "a") as file:
        file.write(" ")
    with pytest.raises(ContentMissing):
        harvest.deploy(manifest=planned["manifest"], store=store)
    assert not target.exists()


def test_broken_record_is_said(home, store, target):
    """Without its record a target is not written to."""
    page(home, PAGE)
    harvested(home, store, target)
    (target / ".harvest/deployed.json").write_text("[]")
    with pytest.raises(deployments.RecordBroken, match="put it back from a copy"):
        harvested(home, store, target)


def test_this_projects_documents_are_harvested(store, target):
    """Every block of this repository's own pages is read by its parser and deployed."""
    done = harvested(REPOSITORY, store, target, documents=["docs", "README.md"])
    assert done["validate"]["errors"] == []
    assert done["extract"]["unreadable"] == []
    assert done["outputs"]["ok"], done["outputs"]["text"]
    assert done["extract"]["block_count"] > 20
    assert {"python", "shell"} <= done["validate"]["by_language"].keys()
    assert (target / "docs/skills/01.py").read_text().startswith("# harvested from docs/skills.md, line 13\n")
    assert harvested(REPOSITORY, store, target, documents=["docs", "README.md"])["deploy"]["written_count"] == 0
