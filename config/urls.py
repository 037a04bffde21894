"""What the web answers: the admin, and what the execution app offers to machines."""

from importlib.util import find_spec

from django.contrib import admin
from django.http import HttpResponseRedirect
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("favicon.ico", lambda _: HttpResponseRedirect(static("execution/mark.svg"))),
    path("admin/", admin.site.urls),
]

if find_spec("execution.urls"):
    urlpatterns.append(path("", include("execution.urls")))

handler403 = "execution.room.errors.forbidden"
handler404 = "execution.room.errors.not_found"
handler500 = "execution.room.errors.failed"
