"""The doctor's looks at recovery."""

from recovery.doctor import exports, queues, webhooks

LOOKS = (*exports.LOOKS, *webhooks.LOOKS, *queues.LOOKS)
