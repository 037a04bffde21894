"""What a language model was asked, and what that cost, by day."""

from __future__ import annotations

from django.db import models


class AdviceDay(models.Model):
    """One day of advice: what is reserved and spent, and whether the model is asked just now."""

    day = models.DateField(primary_key=True)
    reserved = models.DecimalField(
        max_digits=20, decimal_places=6, db_default=0, help_text="For calls under way, or whose caller died."
    )
    spent = models.DecimalField(max_digits=20, decimal_places=6, db_default=0)
    call_count = models.IntegerField(db_default=0)
    failure_count = models.IntegerField(db_default=0)
    refused_count = models.IntegerField(db_default=0, help_text="Calls that the day's budget did not allow.")
    failures_in_row = models.IntegerField(db_default=0)
    silent_until = models.DateTimeField(null=True, help_text="Until then it is not asked: it failed too often.")

    class Meta:
        verbose_name = "day of advice"
        verbose_name_plural = "days of advice"

    def __str__(self) -> str:
        return str(self.day)
