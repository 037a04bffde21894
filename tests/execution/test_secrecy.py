"""What is secret is shown nowhere: on no page, in no command, in no line of the log."""

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from execution import secrecy, skills
from execution.exceptions import OptionInvalid
from execution.models import Effect
from tests import command_skills
from tests.execution.test_commands import typed
from tests.hands import MARKS

pytestmark = MARKS

SECRETS = ("4711-pin", "sk-very-private", "whsec-intent")


def test_hidden():
    """By name, at any depth, and inside addresses; counts of tokens and what is empty are no secrets."""
    found = secrecy.hidden(
        {"a": [{"api_key": "x", "tokens": 7, "password": ""}], "url": "redis://me:word@host/0", "pins": "shown"}
    )
    assert found == {
        "a": [{"api_key": secrecy.MASK, "tokens": 7, "password": ""}],
        "url": f"redis://me:{secrecy.MASK}@host/0",
        "pins": "shown",
    }


def test_skill_marks_names():
    """A marked name is hidden wherever it occurs; a mark that is no list of names is refused."""
    assert secrecy.hidden({"kwargs": {"pin": "1234"}}) == {"kwargs": {"pin": secrecy.MASK}}
    for wrong in ("pin", [""], [1]):
        with pytest.raises(OptionInvalid, match="names of parameters"):
            skills.SkillOptions(secret=wrong)


def test_nobody_sees_it(hands, admin_client):
    """The skill gets its input as it was given; pages, the inbox and commands show it nowhere."""
    run = command_skills.sign.start(pin=SECRETS[0], api_key=SECRETS[1], note="seen by all")
    step = hands.perform(run)
    effect = Effect.objects.create(
        step_id=step.id, token="effect:post", key="k", policy="ask", epoch=1,
        intent=b'j{"kwargs":{"client_secret":"whsec-intent"}}',
    )  # fmt: skip
    pages = [
        reverse("admin:execution_run_change", args=[run.id]),
        reverse("admin:execution_step_change", args=[step.id]),
        reverse("admin:execution_effect_change", args=[effect.pk]),
        reverse("admin:inbox"),
        f"{reverse('admin:inbox_evidence')}?kind=question&key={step.pk}",
    ]
    texts = [admin_client.get(page).text for page in pages]
    texts += [typed("run", run.id), typed("run", run.id, "--json"), typed("why", run.id, "--json")]
    texts += [typed("inbox", "show", f"question:{step.pk}", "--json"), typed("runs", "--json")]
    assert sum("seen by all" in text for text in texts) >= 4
    assert [(secret, number) for number, text in enumerate(texts) for secret in SECRETS if secret in text] == []
    assert LogEntry.objects.count() == 0
