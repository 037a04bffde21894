"""People for tests: accounts that may raise an agent's level, and the shortest way to a level."""

from django.contrib.auth.models import Permission, User

from execution import agents
from execution.models import Agent


def person(name="ann", *, may_raise=True, **more):
    """Return an account of this name, with the permission to raise levels or without."""
    user, is_new = User.objects.get_or_create(username=name, defaults=more)
    if is_new and may_raise:
        user.user_permissions.add(Permission.objects.get(codename="raise_agent"))
    return user


def put(agent, level):
    """Bring an agent to a level: down at once, up by two persons."""
    if level > Agent.objects.get(pk=agents.id_of(agent)).level:
        agents.raise_level(agent, level, person=person("ann"), second=person("bob"), reason="a test wants it")
    else:
        agents.set_level(agent, level)
