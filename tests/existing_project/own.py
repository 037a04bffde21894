"""The project's own tests, against its real worker. They know nothing of durable runs."""

import time
import unittest

import django
from celery import group
from celery.exceptions import ChordError
from celery.result import AsyncResult

from tests.existing_project.celery import app

django.setup()

from tests.existing_project.shop import tasks  # noqa: E402 - models need a Django that is set up
from tests.existing_project.shop.models import Order  # noqa: E402 - as above

SECONDS = 20


class ShopTest(unittest.TestCase):
    """The shop sells."""

    def setUp(self):
        self.order = Order.objects.create(name="spade")

    def eventually(self, condition):
        """Wait until a condition is true."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            self.assertLess(time.monotonic(), deadline, "it never became true")
            time.sleep(0.02)

    def state(self):
        """Return the order's state."""
        self.order.refresh_from_db()
        return self.order.state

    def test_task_returns_its_result(self):
        result = tasks.price.delay("rake", count=3)
        self.assertEqual(result.get(timeout=SECONDS), 12)
        self.assertEqual(AsyncResult(result.id, app=app).state, "SUCCESS")

    def test_group_keeps_its_order(self):
        result = group(tasks.price.s("x" * size) for size in range(8)).apply_async()
        self.assertEqual(result.get(timeout=SECONDS), list(range(8)))

    def test_chain_books_the_order(self):
        self.assertEqual(tasks.sell(self.order).get(timeout=SECONDS), 55)
        self.assertEqual(self.state(), "booked")

    def test_chord_books_the_basket(self):
        self.assertEqual(tasks.sell_basket(self.order, ["a", "bb", "ccc"]).get(timeout=SECONDS), 11)
        self.assertEqual(self.state(), "booked")

    def test_link_marks_the_order(self):
        tasks.price.apply_async(("hoe",), link=tasks.mark.si(self.order.pk, "priced"))
        self.eventually(lambda: self.state() == "priced")

    def test_error_keeps_its_type_and_calls_its_link(self):
        result = tasks.reserve.apply_async(("hoe",), link_error=tasks.mark_failed.s(self.order.pk))
        with self.assertRaises(tasks.OutOfStockError) as caught:
            result.get(timeout=SECONDS)
        self.assertEqual(caught.exception.args, ("hoe", 0))
        self.eventually(lambda: self.state() == "failed")

    def test_failed_chain_fails_its_end(self):
        result = (tasks.reserve.s("hoe") | tasks.with_tax.s() | tasks.book.s(self.order.pk)).apply_async()
        with self.assertRaises(tasks.OutOfStockError):
            AsyncResult(result.id, app=app).get(timeout=SECONDS)
        self.assertEqual(self.state(), "new")

    def test_failed_chord_part_fails_the_body(self):
        basket = group(tasks.price.s("a"), tasks.reserve.s("b")) | tasks.add_up.s()
        result = basket.apply_async()
        with self.assertRaisesRegex(ChordError, "OutOfStock"):
            AsyncResult(result.id, app=app).get(timeout=SECONDS)

    def test_retry_delivers_at_the_third_try(self):
        self.assertEqual(tasks.deliver.delay(self.order.pk).get(timeout=SECONDS), 3)

    def test_autoretry_gives_up_with_the_error(self):
        with self.assertRaises(ConnectionError):
            tasks.call_customer.delay("555").get(timeout=SECONDS)

    def test_replaced_task_keeps_its_id(self):
        self.assertEqual(tasks.quote.delay(["a", "bb"]).get(timeout=SECONDS), 3)

    def test_task_tells_its_progress(self):
        self.assertEqual(tasks.progress.delay(3).get(timeout=SECONDS), 3)

    def test_countdown_delays_the_start(self):
        began = time.monotonic()
        self.assertEqual(tasks.price.apply_async(("a",), countdown=1).get(timeout=SECONDS), 1)
        self.assertGreaterEqual(time.monotonic() - began, 0.9)

    def test_send_task_by_name(self):
        result = app.send_task(tasks.price.name, ("abc",))
        self.assertEqual(result.get(timeout=SECONDS), 3)

    def test_children_are_known(self):
        result = tasks.price.apply_async(("abc",), link=tasks.with_tax.s())
        result.get(timeout=SECONDS)
        self.eventually(lambda: bool(AsyncResult(result.id, app=app).children))
        self.assertEqual([value for _, value in AsyncResult(result.id, app=app).collect(timeout=SECONDS)], [3, 3])
