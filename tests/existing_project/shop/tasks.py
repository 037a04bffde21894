"""The shop's tasks, as they were written before anybody heard of durable runs."""

from celery import Task, chain, chord, group, shared_task
from django.conf import settings
from django.db.models import F

from tests.existing_project.shop.models import Order

if settings.DURABLE:
    from execution.skills import SkillTask as Base
else:
    Base = Task


class OutOfStockError(Exception):
    """There is none left."""


@shared_task(base=Base)
def price(item, count=1):
    """Return what some of an item cost."""
    return len(item) * count


@shared_task(base=Base)
def add_up(prices, shipping=0):
    """Return a sum."""
    return sum(prices) + shipping


@shared_task(base=Base)
def with_tax(total):
    """Add the tax."""
    return total + total // 10


@shared_task(base=Base)
def book(total, order_id):
    """Write the total into the order."""
    Order.objects.filter(pk=order_id).update(total=total, state="booked")
    return total


@shared_task(base=Base)
def mark(order_id, state):
    """Set an order's state."""
    Order.objects.filter(pk=order_id).update(state=state)


@shared_task(base=Base)
def mark_failed(task_id, order_id):
    """An error link: the task of an order has failed."""
    Order.objects.filter(pk=order_id).update(state="failed")


@shared_task(base=Base)
def reserve(item):
    """Reserve an item that is never there."""
    raise OutOfStockError(item, 0)


@shared_task(base=Base, bind=True, max_retries=5)
def deliver(self, order_id):
    """Deliver at the third try."""
    Order.objects.filter(pk=order_id).update(tries=F("tries") + 1)
    if self.request.retries < 2:
        raise self.retry(countdown=0.05, exc=ConnectionError("the van is away"))
    return Order.objects.get(pk=order_id).tries


@shared_task(base=Base, autoretry_for=(ConnectionError,), max_retries=2, default_retry_delay=0.05)
def call_customer(number):
    """Call a number that never answers."""
    raise ConnectionError(number)


@shared_task(base=Base, bind=True)
def quote(self, items):
    """Be replaced by the sum of the prices."""
    raise self.replace(chord(group(price.s(item) for item in items), add_up.s()))


@shared_task(base=Base, bind=True)
def progress(self, steps):
    """Tell how far it is."""
    for step in range(steps):
        self.update_state(state="PROGRESS", meta={"done": step + 1})
    return steps


def sell(order):
    """Price, tax and book an order, one after the other."""
    return chain(price.s(order.name, 10), with_tax.s(), book.s(order.pk)).apply_async()


def sell_basket(order, items):
    """Price all items side by side, then book the sum."""
    return chord([price.s(item) for item in items], add_up.s(5) | book.s(order.pk)).apply_async()
