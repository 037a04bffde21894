"""Skills of an agent that earns trust and loses it."""

from execution import skill
from tests.graduation.decided import decisions


@skill("ladder.review", retries=0, autonomy="observer")
def review(ctx, count: int) -> int:
    """Judge so many documents: an observer may give verdicts."""
    return ctx.once("judge", lambda: len(decisions(count, agent="editor", run_id=ctx.run_id, step_id=ctx.step_id)))


@skill("ladder.publish", retries=0, autonomy="autonomous")
def publish(ctx, title: str) -> str:
    """Publish something, which wants an autonomous agent."""
    return f"{title} is published"
