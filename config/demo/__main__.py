"""`python -m config.demo`: make a home, play, and leave nothing behind."""

import signal
import sys

from config.demo.home import LEAVING, Home
from config.demo.screen import Screen
from config.substrate import SubstrateError

INTERRUPTED = 130


def main() -> int:
    """Play the demo and return its exit status."""
    for number in LEAVING:
        signal.signal(number, _leave)
    screen = Screen()
    try:
        with Home(screen) as home:
            from config.demo.house import open_house  # the home has named the settings' environment

            house = open_house(home, screen)
            from config.demo.play import play  # the house has set up Django

            play(house)
    except KeyboardInterrupt:
        screen.fail("Interrupted; everything that the demo had started is stopped.")
        return INTERRUPTED
    except (SubstrateError, RuntimeError) as error:
        screen.fail(str(error))
        return 1
    screen.goodbye()
    return 0


def _leave(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
