"""confirm-wiring: four questions about a component, each answered with file and line."""

import pytest

from execution.workflows.nodes import wiring
from tests.execution.workflows.library.walk import REPOSITORY, walk


@pytest.fixture
def project(home):
    """Return a small Django project."""
    files = {
        "shop/__init__.py": "",
        "shop/tasks.py": "from celery import shared_task\n\n\n@shared_task(name='shop.send')\ndef send():\n    pass\n\n\ndef unused():\n    pass\n",
        "shop/views.py": "from . import tasks\nfrom .tasks import send as posted\n\n\ndef index(request):\n    tasks.send.delay()\n",
        "shop/urls.py": "from django.urls import path\n\nfrom shop import views\n\nurlpatterns = [\n    path('', views.index),\n]\n",
        "site/settings.py": "INSTALLED_APPS = [\n    'django.contrib.admin',\n    'shop',\n]\nBEAT = {'a': {'task': 'shop.send'}}\nOTHER = 'shop.sender'\n",
        "tests/test_shop.py": "from shop.views import index\n\n\ndef test_send(app):\n    app.send_task('shop.send')\n",
        "broken.py": "def (\n",
    }
    for path, text in files.items():
        (home / path).parent.mkdir(exist_ok=True)
        (home / path).write_text(text)
    return home


def wired(root, component):
    """Walk through the workflow."""
    return walk("confirm-wiring", root=str(root), component=component)


def test_task_is_wired(project):
    """Imported by name and through its module, registered, configured by its task name, tested by it."""
    done = wired(project, "shop.tasks.send")
    assert done["locate"]["defined_at"] == "shop/tasks.py:5"
    assert done["imported"]["evidence"] == ["shop/views.py:2", "shop/views.py:6"]
    assert done["registered"]["evidence"] == ["shop/tasks.py:4 (@shared_task)"]
    assert done["configured"]["evidence"] == ["site/settings.py:5"]
    assert done["tested"]["evidence"] == ["tests/test_shop.py:5"]
    assert done["outputs"]["is_wired"]


def test_unused_function_is_wired_nowhere(project):
    """Each question is answered by no."""
    done = wired(project, "shop.tasks.unused")
    assert done["outputs"]["missing"] == ["imported", "registered", "configured", "tested"]
    assert "tested: no" in done["outputs"]["text"]


def test_view_and_app_are_registered(project):
    """By a URL pattern, and by INSTALLED_APPS."""
    view = wired(project, "shop.views.index")
    assert view["registered"]["evidence"] == ["shop/urls.py:6 (urlpatterns)"]
    assert view["tested"]["evidence"] == ["tests/test_shop.py:1"]
    app = wired(project, "shop")
    assert app["registered"]["evidence"] == ["site/settings.py:3 (INSTALLED_APPS)"]
    assert app["tested"]["evidence"] == ["tests/test_shop.py:1"]
    assert not app["imported"]["ok"], "that it imports itself does not count"


@pytest.mark.parametrize(
    "component", ["shop.tasks.missing", "shop.nothing", "nowhere", "", "../etc", "shop..tasks", "a b"]
)
def test_unknown_component_is_refused(project, component):
    """A mistyped name is not an unwired component."""
    with pytest.raises(wiring.ComponentUnknown):
        wiring.locate(root=str(project), component=component)


@pytest.mark.slow
def test_components_of_this_project_are_wired():
    """A skill of the library itself, an app and a task, each with evidence."""
    clean_up = wired(REPOSITORY, "execution.tasks.clean_up")
    assert "execution/tasks.py" in clean_up["registered"]["evidence"][0]
    assert any("the task execution.clean_up" in one for one in clean_up["registered"]["evidence"])
    assert clean_up["configured"]["ok"]
    app = wired(REPOSITORY, "execution")
    assert app["registered"]["evidence"][0].startswith("config/settings.py:")
    node = wired(REPOSITORY, "execution.workflows.nodes.harvest.extract")
    assert any("the task library.harvest.extract" in one for one in node["registered"]["evidence"])
    assert node["configured"]["ok"], "the definition names it"
    assert node["tested"]["ok"]
