"""What a parent starts as a worker: twistd, in a session of its own."""

from __future__ import annotations

import os

from twisted.scripts.twistd import run


def main() -> None:
    """Run twistd with the arguments of this process."""
    # Ctrl-C at a terminal is for the parent, which tells its workers; twice would be once too often.
    os.setsid()
    # The sockets of systemd are for the process of this number (sd_listen_fds(3)).
    os.environ["LISTEN_PID"] = str(os.getpid())
    run()


if __name__ == "__main__":
    main()
