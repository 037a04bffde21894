"""Which service needs which, and what it wants of it; changed on the service's own page."""

from __future__ import annotations

from django.contrib import admin

from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.models import ServiceDependency


@admin.register(ServiceDependency)
class ServiceDependencyAdmin(PlainAdmin):
    list_display = ["id", "shown_service", "shown_needed", "wants"]
    by_name = ["service_id", "needed_id"]
    search_help_text = "The name of one of the two services."
    fields = ["shown_service", "shown_needed", "wants"]

    @admin.display(description="service")
    def shown_service(self, dependency: ServiceDependency) -> str:
        return shown.link("service", dependency.service_id)

    @admin.display(description="needs")
    def shown_needed(self, dependency: ServiceDependency) -> str:
        return shown.link("service", dependency.needed_id)
