"""`python -m tests.judgement`: simulate, print what was found, write docs/judgement.md; 1 if a guarantee is broken."""

import sys
import time

from rich.console import Console
from rich.table import Table

from tests.judgement import page, proof


def main():
    """Prove the guarantees; the status is 0 when every one held."""
    start = time.monotonic()
    sections = proof.run()
    page.PAGE.write_text(page.render(sections))
    console = Console()
    for section in sections:
        _show(console, section)
    broken = [section.title for section in sections if section.is_broken]
    said = f"broken: {'; '.join(broken)}" if broken else "every guarantee held"
    console.print(f"{said}; {time.monotonic() - start:.0f} s; docs/judgement.md is written", highlight=False)
    return 1 if broken else 0


def _show(console, section):
    shown = Table(
        *section.columns, "promised", "", title=section.title, title_justify="left", box=None, padding=(0, 2, 0, 0)
    )
    for row in section.rows:
        shown.add_row(*row.cells, row.promised, row.mark, style="red" if row.is_broken else "")
    console.print(shown)
    console.print()


if __name__ == "__main__":
    sys.exit(main())
