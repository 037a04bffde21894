"""Parsers: each language is read by a real parser, its errors have their line, and nothing is run."""

import pytest

from execution.workflows.nodes import parsers
from tests.execution.workflows.library.walk import REPOSITORY

GOOD = {
    "python": "import os\n\nasync def f(x: int) -> None:\n    match x:\n        case 1:\n            await g()\n",
    "javascript": "#!/usr/bin/env node\nimport x from 'y';\nexport const f = async (a = 1, ...b) => `${a}`?.length ?? b;\nconst el = <a b='c'>{d}</a>;\n",
    "typescript": "interface A<T> { b?: T; readonly c: string[] }\nexport function f<T extends A<T>>(x: T): x is T { return true as const; }\nenum E { A = 1 }\n",
    "tsx": "export const A: React.FC<{b: string}> = ({b}) => <div className={b}>{b}</div>;\n",
    "sql": "WITH a AS (SELECT 1 AS b) SELECT b, count(*) FILTER (WHERE b > 1) FROM a GROUP BY b;\nUPDATE t SET x = 1 WHERE id = ANY($1) RETURNING *;\nINSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING;\n",
    "shell": 'set -eu\nfor f in *.md; do\n  [[ -e $f ]] && echo "$f" || true\ndone\ncat <<EOF\nx\nEOF\n',
    "json": '{"a": [1, 2.5e3, null, true, "\\u00fc"]}',
    "yaml": "a: &x\n  - 1\n  - !custom {b: *missing}\n".replace("*missing", "2") + "c: *x\n---\nd: |\n  text\n",
    "toml": "[a]\nb = 1979-05-27T07:32:00Z\nc = [1, 2]\n",
}
BROKEN = {
    "python": ("x = 1\ndef f(:\n    pass\n", 2),
    "javascript": ("const a = 1;\nfunction (b { return }\n", 2),
    "typescript": ("interface A { b: string }\nconst c: = 1;\n", 2),
    "tsx": ("const a = 1;\nconst b = <div><span></div>;\n", 2),
    "sql": ("SELECT 1;\nSELECT * FORM t WHERE;\n", 2),
    "shell": ("echo a\nif true; then\n  echo b\n", 4),
    "json": ('{\n  "a": 1,\n  "b": }\n', 3),
    "yaml": ("a: 1\nb: [1, 2\nc: 3\n", 3),
    "toml": ("[a]\nb = \n", 2),
}


def test_both_tables_name_every_language():
    """A language that a harvest knows has a parser, a good example and a broken one."""
    assert GOOD.keys() == BROKEN.keys() == parsers.CHECKS.keys()


@pytest.mark.parametrize("language", GOOD)
def test_good_text_has_no_problem(language):
    """What the language allows is allowed."""
    assert parsers.problems(language, GOOD[language]) == []


@pytest.mark.parametrize("language", BROKEN)
def test_broken_text_is_found_at_its_line(language):
    """The error is where a person would look for it."""
    text, line = BROKEN[language]
    found = parsers.problems(language, text)
    assert found
    assert found[0].message
    assert abs(found[0].line - line) <= 1, found


@pytest.mark.parametrize("language", GOOD)
def test_empty_text_is_an_answer(language):
    """An empty block is read; only JSON says that nothing is no value."""
    assert bool(parsers.problems(language, "")) == (language == "json")


@pytest.mark.parametrize("language", GOOD)
@pytest.mark.parametrize(
    "text", ["(" * 20_000, "[" * 20_000, "\x00", "\ud7ff\u2028'", "- " * 5_000, "{" * 20_000 + "}" * 20_000]
)
def test_hostile_text_is_an_answer(language, text):
    """Deep nesting and odd signs end in an answer, not in a crash."""
    assert isinstance(parsers.problems(language, text), list)


def test_python_is_not_run(tmp_path):
    """Reading is not importing."""
    assert parsers.problems("python", f"open({str(tmp_path / 'made')!r}, 'w').close()\n") == []
    assert list(tmp_path.iterdir()) == []


def test_shell_is_not_run(tmp_path):
    """Neither commands nor substitutions are performed."""
    assert (
        parsers.problems("shell", f"touch {tmp_path}/a\nb=$(touch {tmp_path}/b)\n: ${{x:=`touch {tmp_path}/c`}}\n")
        == []
    )
    assert list(tmp_path.iterdir()) == []


def test_shell_warning_counts():
    """A here-document without an end is only a warning to bash, and broken to a reader."""
    assert "here-document" in parsers.problems("shell", "cat <<END\ntext\n")[0].message


def test_python_warning_is_no_problem():
    """What the compiler only warns of is left to a linter."""
    assert parsers.problems("python", "assert (1, 'x')\n'\\d'\n") == []


@pytest.mark.parametrize("text", ["hello world", "SELEC 1", "foo", "1 + 1"])
def test_sql_that_is_no_statement_is_a_problem(text):
    """An expression is SQL to sqlglot; a file of SQL holds statements."""
    assert parsers.problems("sql", f"SELECT 1;\n{text};\n")


def test_sql_is_read_in_its_dialect():
    """What one database writes another may not."""
    assert parsers.problems("sql", "SELECT `a` FROM `b`", dialect="mysql") == []
    assert parsers.problems("sql", "SELECT a[1:2], b::int[] FROM c", dialect="postgres") == []


def test_json_knows_no_nan():
    """What Python takes and JSON does not is a problem."""
    assert parsers.problems("json", '{"a":\n NaN}') == [parsers.Problem(2, "NaN is no JSON")]


def test_yaml_alias_needs_its_anchor():
    """An alias is looked up in its own document."""
    assert parsers.problems("yaml", "a: &x 1\n---\nb: *x\n")[0].message == "the alias *x has no anchor"


def test_yaml_that_would_explode_is_only_read():
    """A small text whose aliases stand for billions of values takes no memory."""
    layers = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10))
    assert parsers.problems("yaml", f"l0: &l0 [x]\n{layers}\n") == []


def test_this_project_is_read():
    """Every file of this project that has a parser here is read without a problem."""
    suffixes = {".py": "python", ".toml": "toml", ".yaml": "yaml", ".json": "json", ".sh": "shell"}
    for path in [*REPOSITORY.glob("execution/**/*.*"), *REPOSITORY.glob("*.toml")]:
        if path.suffix in suffixes:
            assert parsers.problems(suffixes[path.suffix], path.read_text()) == [], path
