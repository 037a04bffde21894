"""What the web answers: the admin, and what the execution app offers to machines."""

from importlib.util import find_spec

from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls)]

if find_spec("execution.urls"):
    urlpatterns.append(path("", include("execution.urls")))
