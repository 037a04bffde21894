"""What the shop keeps."""

from django.db import models


class Order(models.Model):
    """An order on its way."""

    name = models.CharField(max_length=50)
    state = models.CharField(max_length=20, default="new")
    total = models.IntegerField(default=0)
    tries = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.name
