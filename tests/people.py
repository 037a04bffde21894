"""People for tests: accounts that may decide about agents, and the shortest way to a level."""

from django.contrib.auth.models import Permission, User

from execution import agents
from execution.models import Agent

DECISIONS = ("raise_agent", "resolve_case", "decide_recommendation")


def person(name="ann", *, may_decide=True, **more):
    """Return an account of this name, with the permissions to decide or without."""
    user, is_new = User.objects.get_or_create(username=name, defaults=more)
    if is_new and may_decide:
        user.user_permissions.add(*Permission.objects.filter(codename__in=DECISIONS))
    return user


def put(agent, level):
    """Bring an agent to a level: down at once, up by two persons."""
    if level > Agent.objects.get(pk=agents.id_of(agent)).level:
        agents.raise_level(agent, level, person=person("ann"), second=person("bob"), reason="a test wants it")
    else:
        agents.set_level(agent, level)
