"""What changed between two definitions, in words."""

from execution.workflows import differences, reading

OLD = """\
name: w
inputs: {source: {type: text}}
budget: 5
steps:
  extract: {skill: x.extract, with: {source: "${inputs.source}", deep: {a: 1, b: 2}}, retry: 3}
  validate: {skill: x.validate, needs: extract}
  deploy: {skill: x.deploy, needs: [validate], timebox: 1h}
"""
NEW = """\
name: w
description: now with words
inputs: {source: {type: text, default: docs}}
steps:
  deploy: {skill: x.deploy, needs: [check_all, go]}
  extract: {skill: x.extract, with: {source: "${inputs.source}", deep: {a: 1, b: 3}}, retry: {retries: 3, base: 2s}}
  check_all: {skill: x.validate, needs: extract}
  go: {gate: approval}
"""


def told(old, new):
    """Return what is said to have changed."""
    return [one.text for one in differences.between(reading.read(old), reading.read(new))]


def test_changes_are_told():
    """Added, removed, renamed and changed parts are told, each at its place."""
    assert told(OLD, NEW) == [
        "description is 'now with words' now; it was not set",
        "inputs.source.required is false now; it was not set",
        "inputs.source.default is 'docs' now; it was not set",
        'budget is not set any more; it was {"cost":"5.00"}',
        "steps.extract.with.deep.b was 2 and is 3",
        "steps.extract.retry.base is 2 now; it was not set",
        "step 'validate' is called 'check_all' now",
        'steps.deploy.needs was ["validate"] and is ["check_all","go"]',
        "steps.deploy.timebox is not set any more; it was 3600",
        "step 'go' is added (gate approval)",
    ]


def test_the_way_back_is_told():
    """What was added one way is removed the other."""
    assert "step 'go' is removed (gate approval)" in told(NEW, OLD)
    assert "step 'check_all' is called 'validate' now" in told(NEW, OLD)


def test_same_content_has_no_differences():
    """Layout, order and shorthands are no change."""
    assert told(OLD, OLD.replace("budget: 5", "budget: {cost: '5.00'}  # money").replace("1h", "3600")) == []


def test_truth_and_number_differ():
    """True is not 1, also here."""
    text = "name: w\nsteps: {a: {skill: x, with: {v: %s}}}\n"
    assert told(text % "1", text % "true") == ["steps.a.with.v was 1 and is true"]


def test_long_texts_are_shown_where_they_differ():
    """Of two long texts, the part that changed is shown."""
    text = "name: w\nsteps: {a: {skill: x, with: {v: '%s'}}}\n"
    found = told(text % ("same " * 40 + "old"), text % ("same " * 40 + "new"))
    assert found == ["steps.a.with.v was '…same same old' and is '…same same new'"]
