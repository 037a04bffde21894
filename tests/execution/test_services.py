"""Services: declared by files, each mistake told at its place, twice the same, and out again as they came in."""

from pathlib import Path

import pytest
from django.db import IntegrityError, connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from execution import services
from execution.exceptions import OptionInvalid, ServicesInvalid, ServiceUnknown
from execution.models import Event, Service, ServiceDependency
from execution.services import Declaration
from execution.skills import SkillOptions
from tests.execution.test_commands import document, refused, typed
from tests.hands import MARKS, side_by_side

pytestmark = MARKS

SHOP = """\
services:
  payments:
    tier: critical
    owner: team money
    description: Takes money.
    contract:
      availability: 0.999
      success_rate: 0.995
      latency_ms: {p50: 80, p95: 400}
      interface: https://example.org/payments.json
      terms: {region: eu}
    guarantees: [idempotent, ordered]
    dependencies: [ledger]
  ledger:
    tier: critical
    guarantees: durable
    dependencies:
      storage: {wants: [durable, encrypted]}
  storage:
    guarantees: [durable]
"""


@pytest.fixture
def file(tmp_path, transactional_db):
    """Write a file of services, and return its path."""

    def write(text, name="shop.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def told():
    """Return which services the log says were declared, in order."""
    return [(one["service"], one["fields"]) for one in
            Event.objects.filter(kind="service.declared").order_by("id").values_list("data", flat=True)]  # fmt: skip


def test_import_twice(file):
    """The first import declares, the second changes nothing and says nothing to the log."""
    path = file(SHOP)
    assert [str(one) for one in services.import_([path])] == ["ledger is new", "payments is new", "storage is new"]
    found = services.get("payments")
    assert (found.tier, found.owner, found.contract["latency_ms"]) == (
        "critical",
        "team money",
        {"p50": 80, "p95": 400},
    )
    before = list(Service.objects.values())
    assert {str(one) for one in services.import_([path])} == {
        "ledger is the same", "payments is the same", "storage is the same"
    }  # fmt: skip
    assert (list(Service.objects.values()), len(told())) == (before, 3)


def test_change_is_told_by_its_fields(file):
    """A change names its fields; dependencies that are gone go, and what another file declared stays."""
    services.import_([file(SHOP)])
    text = SHOP.replace("tier: critical\n    owner", "tier: low\n    owner").replace(
        "dependencies: [ledger]", "dependencies: []"
    )
    changes = services.import_([file(text)], by="ann")
    assert [str(one) for one in changes if one.fields] == ["payments has changed: tier, dependencies"]
    assert list(ServiceDependency.objects.values_list("service_id", "needed_id")) == [("ledger", "storage")]
    assert told()[-1] == ("payments", ["tier", "dependencies"])
    services.import_([file("services: {mail: {dependencies: [payments]}}", "mail.yaml")])
    assert Service.objects.count() == 4


def test_dry_run_changes_nothing(file):
    """It says what would change, and what would be odd."""
    said = document("services", "import", file(SHOP), "--dry-run")
    assert [one["is_new"] for one in said["changes"]] == [True, True, True]
    assert said["notes"] == ["ledger wants encrypted of storage, which does not guarantee that"]
    assert not Service.objects.exists()
    assert not told()


WRONG = {
    "unknown field": ("services:\n  a:\n    teir: low\n", ["s.yaml:3:5: services.a.teir: there is no field 'teir'; did you mean 'tier'?"]),
    "unknown tier": ("services:\n  a: {tier: crtical}\n", ["s.yaml:2:13: services.a.tier: is 'crtical', not one of critical, standard, low; did you mean 'critical'?"]),
    "contract": ("services:\n  a:\n    contract:\n      availability: 99.9\n      latncy_ms: 3\n", ["s.yaml:4:21: services.a.contract.availability: is 99.9, and has to be at most 1", "s.yaml:5:7: services.a.contract.latncy_ms: there is no field 'latncy_ms'; did you mean 'latency_ms'?"]),
    "latency": ("services:\n  a: {contract: {latency_ms: {p90: 3}}}\n", ["s.yaml:2:31: services.a.contract.latency_ms.p90: there is no field 'p90'"]),
    "name": ("services:\n  Pay Ments: {}\n", ["s.yaml:2:3: services.Pay Ments: 'Pay Ments' is no name here; write it in kebab-case: 'pay-ments'"]),
    "dependency": ("services:\n  payments: {}\n  a:\n    dependencies: [paymens]\n", ["s.yaml:4:20: services.a.dependencies[0]: there is no service 'paymens'; did you mean 'payments'?"]),
    "wants": ("services:\n  b: {}\n  a:\n    dependencies:\n      b: {want: x}\n", ["s.yaml:5:11: services.a.dependencies.b.want: there is no field 'want'; did you mean 'wants'?"]),
    "itself": ("services:\n  a: {dependencies: {a: {}}}\n", ["s.yaml:2:22: services.a.dependencies.a: a service does not need itself"]),
    "nothing": ("", ["s.yaml:1:1: a file of services is a mapping with services, not null"]),
    "list": ("- a\n", ['s.yaml:1:1: a file of services is a mapping with services, not ["a"]']),
    "no YAML": ("services: {a\n", ["s.yaml:2:1: this is no YAML: a bracket is not closed here"]),
    "twice": ("services:\n  a: {}\n  a: {}\n", ["s.yaml:3:3: services.a: 'a' stands here a second time; the first is on line 2"]),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_mistake_is_told_at_its_place(file, case, monkeypatch, tmp_path):
    """File, line, column, field, what is wrong and the nearest name; and nothing is written."""
    monkeypatch.chdir(tmp_path)
    text, wanted = WRONG[case]
    file(text, "s.yaml")
    with pytest.raises(ServicesInvalid) as caught:
        services.import_(["s.yaml"])
    said = [str(one) for one in caught.value.findings]
    assert len(said) == len(wanted)
    assert all(one.startswith(start) for one, start in zip(said, wanted, strict=True)), said
    assert not Service.objects.exists()


def test_all_files_are_checked_before_anything_is_written(file):
    """A service in two files and a file that is not there are told together."""
    one, other = file("services: {a: {}}", "one.yaml"), file("services: {a: {}}", "other.yaml")
    with pytest.raises(ServicesInvalid) as caught:
        services.import_([one, other, "gone.yaml"])
    assert f"is declared in {one} too" in str(caught.value)
    assert "gone.yaml:1:1: the file cannot be read" in str(caught.value)


def test_circles_and_lacking_guarantees_are_notes(file):
    """What is odd is told and not refused: it is so in life."""
    services.import_([file(SHOP + "    dependencies: [payments]\n")])
    notes = services.notes(services.listed())
    assert "these need each other in a circle" in notes[0]
    assert notes[1] == "ledger wants encrypted of storage, which does not guarantee that"


_WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs", "Cc"]), max_size=20)
_ONE = st.fixed_dictionaries(
    {},
    optional={
        "tier": st.sampled_from(["critical", "standard", "low"]),
        "owner": _WORDS,
        "description": _WORDS,
        "guarantees": st.lists(st.sampled_from(["ordered", "durable"]), unique=True),
        "contract": st.fixed_dictionaries(
            {}, optional={"availability": st.floats(0, 1), "terms": st.dictionaries(_WORDS, _WORDS, max_size=2)}
        ),
    },
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_export_is_imported_again_as_it_was(file, data):
    """Whatever is declared comes out as a file that changes nothing."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE execution_service CASCADE")
    names = data.draw(
        st.lists(
            st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,5})?", fullmatch=True), min_size=1, max_size=5, unique=True
        )
    )
    given = {
        name: data.draw(_ONE)
        | {
            "dependencies": data.draw(
                st.lists(st.sampled_from(names), unique=True).map(
                    lambda found, n=name: [one for one in found if one != n]
                )
            )
        }
        for name in names
    }
    declared = {name: Declaration.model_validate(one) for name, one in given.items()}
    services.declare_all(declared)
    assert {one.name: Declaration.of(one) for one in services.listed()} == declared
    path = file(services.exported(services.listed()), "export.yaml")
    assert all(not one.fields and not one.is_new for one in services.import_([path]))


def test_imports_side_by_side(file):
    """Several imports of the same file at once declare it once."""
    path = file(SHOP)

    def act():
        try:
            return services.import_([path])
        except IntegrityError:
            return services.import_([path])

    side_by_side(*[act] * 4)
    assert (Service.objects.count(), ServiceDependency.objects.count()) == (3, 2)


def test_skill_declares_what_it_calls():
    """`calls` lists services; a text alone is a slip."""
    assert SkillOptions(calls=["payments"]).calls == ["payments"]
    for wrong in ("payments", [""]):
        with pytest.raises(OptionInvalid, match="lists the names of services"):
            SkillOptions(calls=wrong)


def test_unknown_service(transactional_db):
    """The nearest name is told."""
    services.declare("payments", Declaration())
    with pytest.raises(ServiceUnknown, match="did you mean 'payments'"):
        services.get("paymnts")
    with pytest.raises(ServiceUnknown, match="no service 'nobody'"):
        services.declare("mail", Declaration(dependencies={"nobody": {}}))
    assert not Service.objects.filter(pk="mail").exists()


def test_command(file, tmp_path):
    """Services are imported, listed, shown and exported from the command line."""
    folder = tmp_path / "services"
    folder.mkdir()
    (folder / "shop.yaml").write_text(SHOP)
    assert "dry run" in typed("services", "import", folder, "--dry-run")
    assert "no service is declared" in typed("services", "list")
    told = document("services", "import", folder)
    assert [one["is_new"] for one in told["changes"]] == [True, True, True]
    assert told["notes"] == ["ledger wants encrypted of storage, which does not guarantee that"]
    assert "team money" in typed("services", "list")
    assert document("services", "show", "payments")["tier"] == "critical"
    out = Path(tmp_path / "out.yaml")
    typed("services", "export", "--output", out)
    assert "payments is the same" in typed("services", "import", out)
    assert typed("services", "show", "storage").startswith("services:\n  storage:")
    assert "did you mean" in refused("services", "show", "paymentz")
