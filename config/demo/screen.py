"""What the demo shows: a few lines, and a live bar where standard output is a terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Screen:
    """Standard output, in colour on a terminal and in plain lines elsewhere."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.began_at = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._shown = (0, "")

    def say(self, text: str, *, style: str = "") -> None:
        """Print one line, with the seconds since the demo began."""
        seconds = time.monotonic() - self.began_at
        self.console.print(f"[dim]{seconds:5.1f} s[/dim]  {f'[{style}]{text}[/{style}]' if style else text}")

    def title(self, text: str) -> None:
        """Print a heading."""
        self.console.print(f"\n[bold]{text}[/bold]")

    def line(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(f"  {text}", markup=False)

    def fail(self, text: str) -> None:
        """Say what went wrong, on standard error."""
        Console(stderr=True, highlight=False, soft_wrap=True).print(text, style="red", markup=False)

    def goodbye(self) -> None:
        """Say how to go on."""
        seconds = time.monotonic() - self.began_at
        self.console.print(f"\nEverything that was started is stopped again ({seconds:.0f} s in all).")
        self.console.print(
            "Go on with [bold]make up[/bold]: servers, workers, beat, the admin and Flower, until Ctrl-C."
        )

    @contextlib.contextmanager
    def bar(self, total: int) -> Iterator[None]:
        """Show progress while the block lasts: a bar that stays at the bottom, or a line whenever something changes."""
        if not self.console.is_terminal:
            yield
            return
        columns = (TextColumn("         "), BarColumn(36), MofNCompleteColumn(), TextColumn("{task.description}"))
        with Progress(*columns, TimeElapsedColumn(), console=self.console) as self._bar:
            self._task = self._bar.add_task("", total=total)
            yield
        self._bar = None

    def progress(self, done: int, who: str) -> None:
        """Show how many steps are recorded, and who performs."""
        if (done, who) == self._shown:
            return
        before, self._shown = self._shown, (done, who)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, description=who)
        elif done != before[0]:
            self.say(f"{done:2} recorded, {who}" if who else f"{done:2} recorded", style="dim")
