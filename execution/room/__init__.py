"""The operator's room: the admin, where a person sees what runs, why it waits, what failed and what to decide.

It stands on django-unfold. The room gathers its navigation, the panels of its home page, what waits for a person and
what can be searched from a module `room` of each installed app (see `execution.room.parts`).
"""

from execution.room.look import UNFOLD

__all__ = ["UNFOLD"]
