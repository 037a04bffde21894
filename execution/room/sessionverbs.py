"""What a person can do to a session: close it, with or without the runs in it, and open it again."""

from __future__ import annotations

from django import forms
from django.http import QueryDict

from execution import sessions
from execution.models import Session, SessionStatus
from execution.room.doing import Form, Given, Verb, form_of, reasoned
from execution.room.runverbs import OPERATE


def _close_form(_: Session, __: QueryDict) -> Form:
    cancel = forms.BooleanField(
        label="Cancel the runs in it that have not ended",
        required=False,
        help_text="Without it a session with such runs stays open.",
    )
    return form_of("CloseForm", {"cancel": cancel})


def _close(session: Session, by: str, given: Given) -> Session:
    return sessions.close(session, cancel=given["cancel"], **reasoned(by, given))


VERBS = {
    "close": Verb(
        name="close",
        title="Close",
        text="No run starts in it any more. Its state is kept, and it can be opened again.",
        done="closed",
        do=_close,
        fits=lambda session: session.status != SessionStatus.CLOSED,
        permission=OPERATE,
        form=_close_form,
        is_grave=True,
    ),
    "reopen": Verb(
        name="reopen",
        title="Reopen",
        text="It goes on with the state that it was left with; runs that were paused with it go on too.",
        done="reopened",
        do=lambda session, by, given: sessions.reopen(session, **reasoned(by, given)),
        fits=lambda session: session.status != SessionStatus.OPEN,
        permission=OPERATE,
    ),
}
