"""governed-change: a rename in a locked tree, verified, and put back byte for byte when it fails."""

import shutil
import sys

import pytest

from execution.plain import PlainContext
from execution.workflows.nodes import change, folders, renames, stores, trees
from execution.workflows.nodes.exceptions import ChangeRefused, TreeChanged, TreeLocked
from tests.execution.workflows.library.walk import REPOSITORY, walk

COMPILES = [sys.executable, "-m", "compileall", "-q", "."]
FAILS = [sys.executable, "-c", "import sys; print('three tests failed'); sys.exit(1)"]


@pytest.fixture
def tree(tmp_path):
    """Return a small project with re-exports, another thing of the same name, CRLF and odd letters."""
    root = tmp_path / "tree"
    (root / "shop").mkdir(parents=True)
    (root / "shop/__init__.py").write_text("from shop.prices import total\n")
    (root / "shop/prices.py").write_bytes(
        b"# pr\xc3\xa9cis\r\nRATE = 2\r\n\r\n\r\ndef total(items):\r\n    return sum(items) * RATE\r\n"
    )
    (root / "shop/orders.py").write_text(
        "import shop\nfrom shop import prices\nfrom shop.prices import total as counted\n\n\n"
        "class Order:\n    total = 0\n\n    def pay(self):\n        total = self.total\n"
        "        return total, prices.total([1]), shop.total([2]), counted([3]), f'{prices.total([4])}'\n"
    )
    (root / "notes.txt").write_text("total is not code")
    return root


def contents(root):
    """Return every file of a tree."""
    return {path: (root / path).read_bytes() for path in folders.walk(root).files}


def changed(tree, store, refused=(), **given):
    """Walk through the workflow."""
    given = {"root": str(tree), "name": "shop.prices.total", "new_name": "total_price", "store": store} | given
    return walk("governed-change", refused=refused, **given)


def test_function_is_renamed_wherever_it_is_meant(tree, store):
    """Through imports, aliases, re-exports and f-strings; other things of that name stay."""
    done = changed(tree, store, command=COMPILES)
    assert done["outputs"]["ok"], done["outputs"]["text"]
    assert done["change"]["changed"] == ["shop/__init__.py", "shop/orders.py", "shop/prices.py"]
    orders = (tree / "shop/orders.py").read_text()
    assert "from shop.prices import total_price as counted" in orders
    assert (
        "return total, prices.total_price([1]), shop.total_price([2]), counted([3]), f'{prices.total_price([4])}'"
        in orders
    )
    assert "class Order:\n    total = 0" in orders
    assert (tree / "notes.txt").read_text() == "total is not code"


def test_line_ends_and_letters_stay(tree, store):
    """Only the name changes in a file, not one byte more."""
    before = (tree / "shop/prices.py").read_bytes()
    changed(tree, store)
    assert (tree / "shop/prices.py").read_bytes() == before.replace(b"total", b"total_price")


def test_tree_is_released_and_nothing_is_left_in_it(tree, store):
    """No lock, no folder of a tool, no draft."""
    names = set(contents(tree))
    changed(tree, store)
    assert set(contents(tree)) == names
    assert not (tree / ".ropeproject").exists()


@pytest.mark.parametrize(
    ("name", "new_name", "path"),
    [
        ("shop.prices.RATE", "FACTOR", "shop/prices.py"),
        ("shop.orders.Order", "Purchase", "shop/orders.py"),
        ("shop.orders.Order.pay", "settle", "shop/orders.py"),
    ],
)
def test_classes_methods_and_attributes_are_renamed(tree, store, name, new_name, path):
    """Whatever a module or a class defines."""
    done = changed(tree, store, name=name, new_name=new_name)
    assert done["change"]["changed"] == [path]
    assert new_name in (tree / path).read_text()
    assert done["change"]["left_count"] == 0


def test_failed_verification_puts_all_back(tree, store):
    """Byte for byte, without asking for a review, and the report says what the command said."""
    before = contents(tree)
    done = changed(tree, store, command=FAILS)
    assert (done["verify"]["ok"], done["put_back"]["put_back_count"]) == (False, 3)
    assert contents(tree) == before
    assert not done["outputs"]["ok"]
    assert "three tests failed" in done["outputs"]["text"]


def test_refused_review_puts_all_back(tree, store):
    """A person's no is a no."""
    before = contents(tree)
    done = changed(tree, store, refused=("review",))
    assert done["verify"]["ok"]
    assert contents(tree) == before
    assert "changed and put back" in done["outputs"]["text"]


def test_command_that_hangs_is_ended(tree, store):
    """Its time is up, and what it started ends with it."""
    before = contents(tree)
    hangs = [sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '4711'])"]
    done = changed(tree, store, command=hangs, timeout_seconds=1)
    assert done["verify"]["command"]["timed_out"]
    assert contents(tree) == before


def test_command_that_is_missing_fails_the_verification(tree, store):
    """A program that is not there has not verified anything."""
    assert "No such file" in changed(tree, store, command=["no-such-program"])["outputs"]["text"]


def test_two_changes_cannot_hold_one_tree(tree, store):
    """Nor one above or below it; the owner may come again."""
    first = change.scope(root=str(tree), store=store, owner="one")
    assert change.scope(root=str(tree), store=store, owner="one") == first
    for root in (tree, tree / "shop", tree.parent):
        with pytest.raises(TreeLocked, match="'one'"):
            change.scope(root=str(root), store=store, owner="two")
    with pytest.raises(TreeLocked):
        change.release(root=str(tree), owner="two")
    assert change.release(root=str(tree), owner="one") == {"released": True}
    assert change.release(root=str(tree), owner="one") == {"released": False}
    assert change.scope(root=str(tree / "shop"), store=store, owner="two")["file_count"] == 3
    with pytest.raises(TreeLocked, match="'two'"):
        change.scope(root=str(tree), store=store, owner="one")
    assert not (tree / trees.LOCK).exists()


def scoped(tree, store):
    """Return a scope with its copy."""
    found = change.scope(PlainContext(), root=str(tree), store=store)
    change.baseline(root=str(tree), scope=found["scope"], store=store)
    return found


def renamed(tree, store, scope):
    """Rename the function."""
    return change.rename(
        root=str(tree), scope=scope["scope"], name="shop.prices.total", new_name="total_price", store=store
    )


def test_file_changed_after_the_lock_is_refused(tree, store):
    """Before the copy, before the change, and after it; never is anything of somebody else written over."""
    found = change.scope(root=str(tree), store=store, owner="one")
    original = (tree / "shop/orders.py").read_text()
    (tree / "shop/orders.py").write_text(original + "# theirs\n")
    with pytest.raises(TreeChanged, match=r"shop/orders\.py"):
        change.baseline(root=str(tree), scope=found["scope"], store=store)
    (tree / "shop/orders.py").write_text(original)
    change.baseline(root=str(tree), scope=found["scope"], store=store)
    (tree / "shop/orders.py").write_text(original + "# theirs\n")
    before = contents(tree)
    with pytest.raises(TreeChanged):
        renamed(tree, store, found)
    assert contents(tree) == before


def test_file_changed_after_the_change_is_not_put_back(tree, store):
    """Verification refuses, and so does putting back: nothing at all is written."""
    found = scoped(tree, store)
    done = renamed(tree, store, found)
    (tree / "shop/orders.py").write_text("theirs = 1\n")
    before = contents(tree)
    with pytest.raises(TreeChanged, match=r"shop/orders\.py"):
        change.verify(root=str(tree), scope=found["scope"], edits=done["edits"], store=store)
    with pytest.raises(TreeChanged, match=r"shop/orders\.py"):
        change.put_back(root=str(tree), edits=done["edits"], store=store)
    assert contents(tree) == before


def test_other_file_changed_by_the_command_is_seen(tree, store):
    """A verification that touches the scope is noticed when it is asked again."""
    found = scoped(tree, store)
    done = renamed(tree, store, found)
    (tree / "shop/new.py").write_text("")
    change.verify(root=str(tree), scope=found["scope"], edits=done["edits"], store=store)
    (tree / "shop/prices.py").unlink()
    with pytest.raises(TreeChanged, match=r"shop/prices\.py"):
        change.verify(root=str(tree), scope=found["scope"], edits=done["edits"], store=store)


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_change_that_died_is_finished(tree, store, monkeypatch, moment):
    """Whichever file a worker dies at, the next attempt writes the rest, and all of it can be put back."""
    before = contents(tree)
    found = scoped(tree, store)
    real, calls = folders.write, []

    def dying(root, path, content, *, over):
        if root == tree:
            calls.append(path)
            if len(calls) == moment:
                raise KeyboardInterrupt
        real(root, path, content, over=over)

    monkeypatch.setattr(folders, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        renamed(tree, store, found)
    monkeypatch.setattr(folders, "write", real)
    done = renamed(tree, store, found)
    assert renamed(tree, store, found) == done
    assert change.verify(root=str(tree), scope=found["scope"], edits=done["edits"], store=store)["ok"]
    assert change.put_back(root=str(tree), edits=done["edits"], store=store) == {"put_back_count": 3, "file_count": 3}
    assert change.put_back(root=str(tree), edits=done["edits"], store=store) == {"put_back_count": 0, "file_count": 3}
    change.release(root=str(tree), owner=found["owner"])
    assert contents(tree) == before


@pytest.mark.parametrize(
    ("name", "new_name", "said"),
    [
        ("shop.prices.total", "RATE", "has a 'RATE' already"),
        ("shop.prices.total", "class", "no name that Python takes"),
        ("shop.prices.total", "a b", "no name that Python takes"),
        ("shop.prices.total", "total", "has that name already"),
        ("shop.prices.missing", "x", "defines no 'missing'"),
        ("shop.missing.total", "x", "defines no 'missing'"),
        ("nowhere.total", "x", "there is no module"),
        ("total", "x", "there is no module"),
        ("shop.total", "x", "imported there, not defined"),
        ("shop.prices.total.inner", "x", "lies inside a function"),
    ],
)
def test_rename_that_makes_no_sense_is_refused(tree, store, name, new_name, said):
    """Nothing is changed, and the reason is said."""
    before = contents(tree)
    found = scoped(tree, store)
    with pytest.raises(ChangeRefused, match=said):
        change.rename(root=str(tree), scope=found["scope"], name=name, new_name=new_name, store=store)
    change.release(root=str(tree), owner=found["owner"])
    assert contents(tree) == before


def test_broken_tree_is_refused(tree, store):
    """What Python cannot read is not renamed in."""
    (tree / "shop/prices.py").write_text("def total(:\n")
    found = scoped(tree, store)
    with pytest.raises(ChangeRefused, match="cannot be read as Python"):
        renamed(tree, store, found)


def test_what_is_left_is_named(tree, store):
    """A text that spells the old name is beyond rope, and said."""
    (tree / "shop/late.py").write_text("from importlib import import_module\nNAME = 'shop.prices.total'\n")
    done = changed(tree, store)
    assert {"path": "shop/late.py", "line": 2, "as": "text"} in done["change"]["left"]


def test_only_the_scope_is_changed(tree, store):
    """A file outside of it stays, and is what the verification then stumbles over."""
    done = changed(tree, store, exclude=["shop/orders.py"], command=[sys.executable, "-c", "import shop.orders"])
    assert done["scope"]["file_count"] == 2
    assert not done["verify"]["ok"]


def test_patch_is_kept(tree, store):
    """The report's patch is what was done."""
    done = changed(tree, store)
    patch = stores.kept(store, done["outputs"]["patch"]).decode()
    assert "--- a/shop/__init__.py\n+++ b/shop/__init__.py\n" in patch
    assert "+from shop.prices import total_price\n" in patch


@pytest.mark.slow
def test_function_of_this_project_is_renamed_and_put_back(tmp_path, store):
    """In a copy of this repository's own code, verified by importing it; then refused, and the copy is as it was."""
    root = tmp_path / "copy"
    root.mkdir()
    for name in ("execution", "config"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "static"))
    before = contents(root)
    given = {"name": "execution.words.one_line", "new_name": "on_one_line"}
    check = "from execution import words; assert words.on_one_line('a  b') == 'a b'"
    done = changed(root, store, refused=("review",), command=[sys.executable, "-c", check], **given)
    assert done["verify"]["ok"], done["outputs"]["text"]
    assert done["change"]["changed_count"] >= 4
    assert done["change"]["left"] == []
    assert contents(root) == before
    failing = changed(root, store, command=FAILS, **given)
    assert failing["put_back"]["put_back_count"] == done["change"]["changed_count"]
    assert contents(root) == before


def test_definition_is_found_at_its_name(tree):
    """Behind letters of more than one byte, decorators and async."""
    (tree / "shop/odd.py").write_text("é = 1; ü = 2\n@staticmethod\nasync  def  go(): ...\nif é:\n    late: int = 3\n")
    for name, line, column in (("ü", 1, 7), ("go", 3, 12), ("late", 5, 4)):
        found = renames.definition(tree, f"shop.odd.{name}")
        assert (found.line, found.column) == (line, column)


@pytest.mark.parametrize(
    "line",
    ["X = f'{1} one' f'#52 two'", "X = f\"cfg = '''{1}\"", "X = f'({1}, \"{2}\")'", "match 1:\n    case {'a': b, **c}:\n        pass", "lambda: (yield)",
     "type_ = [*range(3)]", "async def go():\n    return [x async for x in y]"],
)  # fmt: skip
def test_source_that_is_hard_to_read_is_renamed_in_or_refused(tree, store, line):
    """What rope has stumbled over elsewhere ends in a whole change or in none."""
    (tree / "shop/prices.py").write_text(f"{line}\n\n\ndef total(items):\n    return f'{{sum(items)}}'\n")
    before = contents(tree)
    found = scoped(tree, store)
    try:
        done = renamed(tree, store, found)
    except ChangeRefused:
        change.release(root=str(tree), owner=found["owner"])
        assert contents(tree) == before
        return
    assert change.verify(root=str(tree), scope=found["scope"], edits=done["edits"], store=store)["ok"]
    assert (tree / "shop/prices.py").read_text().startswith(line)
    assert "shop.total_price([2])" in (tree / "shop/orders.py").read_text()
