"""What every list shares: read-only pages that stay fast beside millions of rows.

A list is ordered by its primary key, which follows time. Nothing counts a whole table: where a count would be dear, the
planner's estimate stands for it. A search by id goes by an index; a search by words, and a filter that no index serves,
look at the newest rows only.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet, Subquery, UUIDField, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin
from unfold.views import ChangeList

NEWEST = 100_000
PAGES_MOST = 200
DEAR = 50_000.0
"""The planner's cost above which a list is estimated, not counted: some tenths of a second."""

if TYPE_CHECKING:
    Rows = QuerySet[Any]
    _Paginator = Paginator[Any]
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    Rows, _Paginator, _ModelAdmin = QuerySet, Paginator, ModelAdmin


class EstimatingPaginator(_Paginator):
    """Counts where that is cheap; elsewhere believes the planner. The first pages are enough: there are filters."""

    @cached_property
    def count(self) -> int:
        """Return how many rows there are, or about how many."""
        rows = self.object_list
        if not isinstance(rows, QuerySet):
            return len(rows)
        explained = rows.order_by().explain(format="json")
        if not explained:
            return 0
        plan = json.loads(explained)[0]["Plan"]
        if plan["Total Cost"] < DEAR:
            return int(rows.order_by().count())
        return int(plan["Plan Rows"])

    @cached_property
    def num_pages(self) -> int:
        """Return how many pages can be turned to."""
        return min(super().num_pages, PAGES_MOST)


def newest(rows: Rows, most: int | None = None) -> Rows:
    """Return the newest of these rows; their primary keys follow time."""
    last = most or NEWEST
    edge = rows.model._default_manager.order_by("-pk").values("pk")[last - 1 : last]  # noqa: SLF001 - Django's name
    return rows.filter(pk__gte=Coalesce(Subquery(edge), Value(uuid.UUID(int=0)), output_field=UUIDField()))


class PreparedList(ChangeList):
    """A page of a list whose columns have been looked up together."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        self.result_list: Any = rows
        self.model_admin.prepare(rows)


class PlainAdmin(_ModelAdmin):
    """A list and a page of one model, that change nothing."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = EstimatingPaginator
    list_per_page = 50
    list_max_show_all = 200
    ordering = ("-pk",)
    sortable_by = ()

    by_id: Sequence[str] = ()
    """Lookups that an index serves, compared with a search for an id."""
    by_name: Sequence[str] = ()
    """Lookups that an index serves, compared with any search."""
    by_word: Sequence[str] = ()
    """Lookups that no index serves, compared among the newest rows."""
    unlisted: Sequence[str] = ()
    """Large columns that a list leaves in the database."""

    def prepare(self, rows: list[Any]) -> None:
        """Look up, for the rows of one page together, what their columns show beside their own fields."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return PreparedList

    shown_once_made: Sequence[str] = ()
    """Fields that a form for a new row leaves out: there is nothing to show yet."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list, or do an action; one that is not offered to this person is refused, and not passed over."""
        wanted = request.POST.get("action")
        if wanted and wanted not in self.get_actions(request):
            raise PermissionDenied
        answer: HttpResponse = super().changelist_view(request, extra_context)
        return answer

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        found = super().get_fields(request, obj)
        return found if obj else [name for name in found if name not in self.shown_once_made]

    def get_queryset(self, request: HttpRequest) -> Rows:
        rows = super().get_queryset(request)
        match = request.resolver_match
        is_list = match is not None and str(match.url_name).endswith("_changelist")
        return rows.defer(*self.unlisted) if is_list and self.unlisted else rows

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the row of this id; there is none whose id holds a character that the database cannot hold."""
        return None if "\0" in object_id else super().get_object(request, object_id, from_field)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Return the list that is asked for; a filter by what the database cannot hold is none."""
        if any("\0" in value for name, values in request.GET.lists() if name != SEARCH_VAR for value in values):
            raise IncorrectLookupParameters
        return super().get_changelist_instance(request)

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        """Name fields where there is something to search by: that is what shows the box."""
        return [*self.by_id, *self.by_name, *self.by_word]

    def get_search_results(self, request: HttpRequest, queryset: Rows, search_term: str) -> tuple[Rows, bool]:
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        wanted = as_uuid(term)
        if wanted is not None and self.by_id:
            return queryset.filter(any_of(self.by_id, wanted)), False
        if self.by_name and (not self.by_word or queryset.filter(any_of(self.by_name, term)).exists()):
            return queryset.filter(any_of(self.by_name, term)), False
        if self.by_word:
            return newest(queryset).filter(any_of(self.by_word, term)), False
        return queryset.none(), False


class NewestFilter(admin.SimpleListFilter):
    """A filter on a column that no index serves: it looks at the newest rows."""

    lookup = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        raise NotImplementedError

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        value = self.value()
        return newest(queryset).filter(**{self.lookup: value}) if value else queryset


def among(title: str, lookup: str, choices: Sequence[tuple[str, str]]) -> type[NewestFilter]:
    """Return a filter by a fixed choice, among the newest rows."""

    class Chosen(NewestFilter):
        parameter_name = lookup

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return list(choices)

    Chosen.title, Chosen.lookup = title, lookup
    return Chosen


class AgentFilter(NewestFilter):
    """By agent: the first so many names, the others by search."""

    title = "agent"
    parameter_name = "agent"
    lookup = "agent_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        from execution.models import Agent

        return [(str(pk), name) for pk, name in Agent.objects.order_by("name").values_list("pk", "name")[:50]]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        value = self.value()
        if value is None:
            return queryset
        wanted = as_uuid(value)
        return newest(queryset).filter(agent_id=wanted) if wanted else queryset.none()


def as_uuid(text: str) -> uuid.UUID | None:
    """Return the id that a text is, if it is one."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def any_of(lookups: Sequence[str], value: Any) -> Q:
    """Return what fits one of these lookups; an array is asked whether it contains the value."""
    found = Q()
    for lookup in lookups:
        found |= Q(**{lookup: [value] if lookup.endswith("__contains") else value})
    return found
