"""Expressions: what they are worth beside a plain model in Python, what they refuse, and that nothing gets out of hand."""

import ast
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execution.exceptions import ExpressionFailed, ExpressionInvalid
from execution.workflows import evaluation, expressions, templates
from execution.workflows.evaluation import Scope

SCOPE = Scope(
    inputs={"source": "docs", "limit": 3, "class": "first", "ready": True, "none": None, "tags": ["a", "b"]},
    steps={"extract": {"blocks": [{"path": "a.py", "from": 1}, {"path": "b.py", "from": 2}], "größe": 4}},
    run={"id": "0190", "agent": "scout"},
    states={"extract": "completed", "late": "skipped"},
    item={"name": "x"},
    index=2,
)


def worth(text, scope=SCOPE):
    """Return what an expression is worth."""
    return evaluation.evaluate(expressions.parse(text), scope)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inputs.source", "docs"),
        ("inputs.class", "first"),
        ("steps.extract.blocks[0].path", "a.py"),
        ("steps.extract.blocks[-1].from", 2),
        ("steps.extract['größe']", 4),
        ("steps.extract.blocks[inputs.limit - 2].path", "b.py"),
        ("steps['extract'].blocks[0]['path']", "a.py"),
        ("run.id", "0190"),
        ("item.name", "x"),
        ("index + 1", 3),
        ("size(steps.extract.blocks)", 2),
        ("size('abc') == 3", True),
        ("inputs.limit >= 3 and not (inputs.source == 'x')", True),
        ("'a' in inputs.tags", True),
        ("'c' not in inputs.tags", True),
        ("'oc' in inputs.source", True),
        ("'limit' in inputs", True),
        ("inputs.source in ['docs', \"more\"]", True),
        ("true == 1", False),
        ("1 in [true]", False),
        ("[1, [true]] == [1, [1]]", False),
        ("1 == 1.0", True),
        ("null == inputs.none", True),
        ("1 < 2 < 3", True),
        ("inputs.ready or inputs.missing", True),
        ("has(inputs.missing)", False),
        ("has(inputs.none)", False),
        ("has(steps.extract.blocks[5].path)", False),
        ("has(steps.extract.blocks)", True),
        ("default(inputs.missing, 'x')", "x"),
        ("default(inputs.none, 7)", 7),
        ("default(inputs.limit, 7)", 3),
        ("state(steps.late) == 'skipped'", True),
        ("state(steps['extract'])", "completed"),
        ("starts_with(inputs.source, 'do')", True),
        ("ends_with(inputs.source, 'do')", False),
        ("'yes' if inputs.ready else 'no'", "yes"),
        ("7 % 4 * 2 - 1 / 2", 5.5),
        ("-inputs.limit", -3),
        ("inputs.tags[\n0\n]", "a"),
    ],
)
def test_value(text, expected):
    """An expression has the value and the type that it says."""
    found = worth(text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is nothing between the braces"),
        ("  ", "there is nothing between the braces"),
        ("x" * 1001, "it has 1,001 characters, more than 1,000"),
        (
            "source",
            "nothing is called 'source'; it knows inputs, steps, run, item, index; write $${ for text that is to stay",
        ),
        ("input.source", "nothing is called 'input'; did you mean 'inputs'?"),
        ("inputs.a && inputs.b", "'&' at character 10 has no meaning here; write 'and'"),
        ("inputs.a || inputs.b", "'|' at character 10 has no meaning here; write 'or'"),
        ("!inputs.a", "'!' at character 1 has no meaning here; write 'not'"),
        ("inputs.a = 1", "'=' at character 10 has no meaning here; write '=='"),
        ("inputs.a ? 1 : 2", "'?' at character 10 has no meaning here; write 'a if condition else b'"),
        ("'abc", "the text that begins at character 1 does not end"),
        ("'a\\n'", "the text that begins at character 1 does not end"),
        ("inputs.a is null", "write ==, not is"),
        ("True", "write true, not True"),
        ("len(inputs.a)", "write size, not len"),
        ("sise(inputs.a)", "there is no function 'sise'; did you mean 'size'?"),
        ("size(inputs.a, 2)", "size() takes one value"),
        ("default(inputs.a)", "default() takes two values"),
        ("size(x=inputs.a)", "'=' at character 7 has no meaning here; write '=='"),
        ("inputs.a.upper()", "only functions are called"),
        ("has(1)", "has() asks for something by its name: has(steps.extract.blocks)"),
        ("state(steps.a.b)", "state() asks for the state of a step: state(steps.extract)"),
        ("state(inputs.a)", "state() asks for the state of a step: state(steps.extract)"),
        ("inputs.a inputs.b", "it does not read as an expression"),
        ("inputs.", "it does not read as an expression"),
        ("1 +", "it does not read as an expression"),
        ("1if 2", "something is missing before if (character 2)"),
        ("f'x'", "something is missing before 'x' (character 2)"),
        ("[n for n in inputs.a]", "it says something that expressions do not know"),
        ("inputs.a[0:2]", "':' at character 11 has no meaning here"),
        ("2 ** 9", "it says something that expressions do not know"),
        ("lambda", "it does not read as an expression"),
        ("(1, 2)", "it says something that expressions do not know"),
        ("1e999", "a number in it is too large"),
        ("99999999999999999999", "a number in it is too large"),
        (
            "__import__('os')",
            "there is no function '__import__'; it knows size, has, default, state, starts_with, ends_with",
        ),
        ("not " * 200 + "true", "it is nested too deeply"),
        ("1" + " + 1" * 100, "it is nested too deeply"),
        ("inputs" + ".a" * 40, "it is nested too deeply"),
    ],
)
def test_what_cannot_be_read_says_why(text, reason):
    """An expression that cannot be read is refused with what is wrong in it."""
    with pytest.raises(ExpressionInvalid) as caught:
        expressions.parse(text)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("inputs.missing", "inputs has no field 'missing'"),
        ("inputs.source.path", "inputs.source is text: it has no field 'path'"),
        ("inputs.source[0]", "inputs.source is text: it has nothing at 0"),
        ("steps.extract.blocks[2]", "steps.extract.blocks has 2 entries, and none at 2"),
        ("steps.extract.blocks.path", "steps.extract.blocks is a list: it has no field 'path'"),
        ("steps.extract.blocks[true]", "steps.extract.blocks is a list: it has nothing at True"),
        ("inputs.source < 3", "text and a number have no order"),
        ("inputs.tags < inputs.tags", "a list and a list have no order"),
        ("inputs.limit and true", "inputs.limit is a number, and has to be true or false"),
        ("not inputs.tags", "inputs.tags is a list, and has to be true or false"),
        ("1 if inputs.source else 2", "inputs.source is text, and has to be true or false"),
        ("inputs.source + 'x'", "inputs.source is text, and has to be a number"),
        ("inputs.ready + 1", "inputs.ready is true or false, and has to be a number"),
        ("inputs.limit / 0", "inputs.limit / 0 divides by zero"),
        ("9000000000000000000 * 2", "9000000000000000000 * 2 is too large"),
        ("size(inputs.limit)", "size() counts the entries of a list, an object or a text, not of a number"),
        ("1 in inputs.source", "'in' looks into a list, an object or a text: a number in text has no meaning"),
        ("starts_with(inputs.limit, 'x')", "inputs.limit is a number, and has to be text"),
        ("state(steps.other)", "the state of step 'other' is not known"),
    ],
)
def test_what_has_no_value_says_why(text, reason):
    """An expression without a value in this run is refused with what was not there or did not fit."""
    with pytest.raises(ExpressionFailed) as caught:
        worth(text)
    assert caught.value.reason == reason


def test_item_is_only_known_inside_a_foreach():
    """Without an item, an expression that names it says so."""
    with pytest.raises(ExpressionFailed, match="there is no item outside a foreach"):
        worth("item", Scope())


def test_attributes_of_python_are_out_of_reach():
    """Fields are keys of objects: nothing of Python's own can be named, on whatever kind of value."""
    for text in (
        "inputs.__class__",
        "inputs.tags.append",
        "inputs.source.format",
        "steps.extract.keys",
        "item.__init__",
    ):
        with pytest.raises(ExpressionFailed):
            worth(text)


class TestReferences:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("steps.a.b[0].c", [("steps", ("a", "b", 0, "c"))]),
            ("steps['a'][-1]", [("steps", ("a", -1))]),
            ("steps.a[inputs.n].c", [("steps", ("a", None, "c")), ("inputs", ("n",))]),
            ("size(steps.a) > default(inputs.n, run.id)", [("steps", ("a",)), ("inputs", ("n",)), ("run", ("id",))]),
            ("steps.a.x == steps.a.x", [("steps", ("a", "x"))]),
            ("1 + 2", []),
        ],
    )
    def test_everything_named_is_found(self, text, expected):
        """An expression knows all that it names, once, also inside brackets and functions."""
        assert [(one.root, one.path) for one in expressions.parse(text).references] == expected

    def test_state_is_marked(self):
        """Asking for a state is told apart from asking for a result."""
        assert [one.is_state for one in expressions.parse("state(steps.a) == steps.a").references] == [True, False]


class TestTemplates:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("${inputs.limit}", 3),
            ("${inputs.tags}", ["a", "b"]),
            ("${inputs.none}", None),
            ("limit ${inputs.limit} of ${inputs.source}", "limit 3 of docs"),
            (" ${inputs.limit}", " 3"),
            ("${inputs.limit}${inputs.ready}", "3true"),
            ("tags: ${inputs.tags} ${inputs.none}", 'tags: ["a","b"] null'),
            ("echo $${HOME} $HOME $", "echo ${HOME} $HOME $"),
            ("$$${inputs.limit}", "$${inputs.limit}"),
            ("${'}'}", "}"),
            ('${"it\'s"}', "it's"),
            ({"a": ["${inputs.limit}", {"b": "x${index}"}], "c": 1.5}, {"a": [3, {"b": "x2"}], "c": 1.5}),
            ("plain", "plain"),
            ("", ""),
            (7, 7),
        ],
    )
    def test_rendered(self, value, expected):
        """One expression keeps its value's type; inside a text values are written out; the rest stays as it is."""
        assert templates.render(value, SCOPE) == expected

    def test_open_brace_is_refused(self):
        """An expression that does not end is told so."""
        with pytest.raises(ExpressionInvalid, match="no closing brace"):
            templates.pieces("a ${inputs.b and more")

    def test_one_expression_is_told_from_text(self):
        """Only a text that is nothing but one expression is one."""
        assert templates.expression("${inputs.a}").text == "inputs.a"
        assert templates.expression("a ${inputs.a}") is None
        assert templates.expression("${inputs.a}${inputs.b}") is None
        assert templates.expression("a") is None


NUMBERS = {"n0": 0, "n1": 3, "n2": -7, "n3": 2.5}
TEXTS = {"t0": "", "t1": "abc", "t2": "b"}
LISTS = {"l0": [], "l1": [1, 3], "l2": ["abc", 2.5, True]}
MODEL = Scope(inputs={**NUMBERS, **TEXTS, **LISTS, "yes": True, "no": False})


def leaf(values, literal):
    """Draw an input or a literal: its text, and its value."""
    named = st.sampled_from([(f"inputs.{name}", value) for name, value in values.items()])
    return st.one_of(named, literal.map(lambda value: (repr(value), value)))


def joined(pattern, compute, *parts):
    """Draw parts and put them together, as text and as Python would have it."""
    return st.tuples(*parts).map(
        lambda drawn: (pattern.format(*(one[0] for one in drawn)), compute(*(one[1] for one in drawn)))
    )


texts = leaf(TEXTS, st.sampled_from(["", "a", "abc", "it is"]))
lists = st.sampled_from([(f"inputs.{name}", value) for name, value in LISTS.items()])
plain_numbers = leaf(NUMBERS, st.integers(0, 1000))
numbers = st.recursive(
    st.one_of(plain_numbers, joined("size({})", len, texts), joined("size({})", len, lists)),
    lambda inner: st.one_of(
        joined("({} + {})", lambda a, b: a + b, inner, inner),
        joined("({} - {})", lambda a, b: a - b, inner, inner),
        joined("(-{})", lambda a: -a, inner),
    ),
    max_leaves=6,
)
truths = st.recursive(
    st.one_of(
        st.sampled_from([("true", True), ("false", False), ("inputs.yes", True), ("inputs.no", False)]),
        joined("{} < {}", lambda a, b: a < b, numbers, numbers),
        joined("{} >= {}", lambda a, b: a >= b, numbers, numbers),
        joined("{} == {}", lambda a, b: a == b, numbers, numbers),
        joined("{} != {}", lambda a, b: a != b, texts, texts),
        joined("{} <= {}", lambda a, b: a <= b, texts, texts),
        joined("{} in {}", lambda a, b: a in b, texts, texts),
        joined("{} not in {}", lambda a, b: a not in b, texts, lists),
        joined("starts_with({}, {})", lambda a, b: a.startswith(b), texts, texts),
        joined("{} == {}", lambda a, b: False, texts, numbers),
    ).map(lambda drawn: (f"({drawn[0]})", drawn[1])),
    lambda inner: st.one_of(
        joined("({} and {})", lambda a, b: a and b, inner, inner),
        joined("({} or {})", lambda a, b: a or b, inner, inner),
        joined("(not {})", lambda a: not a, inner),
        joined("({} if {} else {})", lambda a, b, c: a if b else c, inner, inner, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=600, deadline=None)
@given(st.one_of(truths, numbers))
def test_value_is_the_models(drawn):
    """Any expression of known kinds has the value that Python computes."""
    text, expected = drawn
    found = worth(text, MODEL)
    assert found == expected
    assert isinstance(found, bool) == isinstance(expected, bool)


WORDS = [
    "inputs",
    "steps",
    "a",
    ".",
    "[",
    "]",
    "(",
    ")",
    "0",
    "1.5",
    "'x'",
    "==",
    "<",
    "and",
    "or",
    "not",
    "in",
    "size",
    "has",
]
WORDS += ["default", "state", ",", "+", "-", "*", "/", "%", "if", "else", "true", "null", "item", "index", "run", " "]


@settings(max_examples=1000, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)), st.data())
def test_any_text_has_a_value_or_a_reason(text, data):
    """No text and no values make anything happen but a value or one of the two errors."""
    json = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=3)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abx"), inner, max_size=3)
        ),
        max_leaves=5,
    )
    objects = st.dictionaries(st.sampled_from("abx"), json, max_size=3)
    try:
        found = expressions.parse(text)
        evaluation.evaluate(found, Scope(inputs=data.draw(objects), steps=data.draw(objects), item=data.draw(json)))
    except (ExpressionInvalid, ExpressionFailed):
        pass


def test_the_list_of_nodes_is_the_list_of_rules():
    """Every node that may stand in an expression has a rule, and no rule is for a node that may not."""
    ruled = {*evaluation._RULES, *evaluation._SIGNS, *evaluation._RELATIONS}
    silent = {ast.Load, ast.And, ast.Or, ast.Not, ast.USub}
    assert ruled | silent == set(expressions._NODES)
    assert set(evaluation._FUNCTIONS) == set(expressions.FUNCTIONS)


def test_the_worst_expression_is_quick():
    """The longest expression over a large list takes time in proportion, and no more."""
    text = " or ".join(["'x' in inputs.l"] * 50)
    scope = Scope(inputs={"l": list(range(10_000))})
    begun = time.monotonic()
    assert worth(text, scope) is False
    assert time.monotonic() - begun < 10
