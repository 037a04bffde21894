"""The pages about services, topology, records, tunables, memory, runs and learning: what stands there is so."""

import io
import re
import shlex
from pathlib import Path

import pytest
from django.core.management import call_command

from execution import conf, runs, services, tunables
from execution.models import AssessmentKind

DOCS = Path(__file__).parents[2] / "docs"
NAMES = ("services", "topology", "records", "tunables", "memory", "runs", "learn")
PAGES = {name: (DOCS / f"{name}.md").read_text(encoding="utf-8") for name in NAMES}
BLOCKS = [
    (name, kind, text)
    for name, page in PAGES.items()
    for kind, text in re.findall(r"```(\w+)\n(.*?)```", page, re.DOTALL)
]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("text", [text for _, kind, text in BLOCKS if kind == "python"])
def test_python_on_the_pages_runs(text, monkeypatch, django_user_model):
    """The Python runs as it stands, from nothing but an account; only that no worker is there to wait for."""
    django_user_model.objects.create_superuser("ann")
    monkeypatch.setattr(runs, "wait", lambda *_, **__: None)
    exec(compile(text, "docs", "exec"), {"__name__": "docs"})  # noqa: S102 - our own page


@pytest.mark.parametrize("text", [text for _, kind, text in BLOCKS if kind == "yaml"])
def test_services_on_the_page_are_right(text, tmp_path):
    """The YAML is imported, with the note that the page shows."""
    path = tmp_path / "shop.yaml"
    path.write_text(text)
    services.import_([path])
    assert [f"note: {one}" in PAGES["services"] for one in services.notes(services.listed())] == [True]


def test_commands_about_memory_answer_as_the_page_shows():
    """Each command of the page, in its order and from nothing, prints what stands below it."""
    page = next(text for name, kind, text in BLOCKS if (name, kind) == ("memory", "text"))
    for command, shown in re.findall(r"^\$ manage\.py (.*)\n((?:[^$].*\n)*)", page, re.MULTILINE):
        out = io.StringIO()
        call_command(*shlex.split(command), stdout=out, stderr=out)
        assert [line.rstrip() for line in out.getvalue().splitlines()] == shown.splitlines(), command


def test_pages_name_what_there_is():
    """Each field, kind, tunable and setting stands on its page."""
    fields = [
        name for model in (services.Declaration, services.Contract, services.Latency) for name in model.model_fields
    ]
    assert [name for name in fields if f"`{name}`" not in PAGES["services"]] == []
    assert [kind for kind in AssessmentKind.values if f"`{kind}`" not in PAGES["records"]] == []
    assert [name for name in tunables.KNOWN if f"`{name}`" not in PAGES["tunables"]] == []
    assert "(90)" in PAGES["records"]
    assert f"({conf.Settings().verdict_days:g})" in PAGES["records"]
