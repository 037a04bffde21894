"""What the execution app answers over HTTP."""

from django.apps import apps
from django.urls import path

from execution import views

urlpatterns = [
    path("healthz", views.healthz, name="celeriac-healthz"),
    path("readyz", views.readyz, name="celeriac-readyz"),
    path("metrics", views.metrics, name="celeriac-metrics"),
    path("celeriac/callbacks/<str:token>", views.callback, name="celeriac-callback"),
]

if apps.is_installed("django.contrib.admin"):
    from execution.room.flower import flower

    urlpatterns += [path("flower/", flower, name="celeriac-flower"), path("flower/<path:rest>", flower)]
