"""Servers to try things on, until Ctrl-C: `python -m orchestrator.embedded`.

Tansu and PostgreSQL, both temporary and on the loopback address. Says how to tell Headrace of them.
"""

import signal
import sys

from orchestrator.embedded import ServerError, embedded_kafka, embedded_postgres


def main() -> int:
    """The exit code: 0 stopped as asked, 3 a server did not come up."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with embedded_kafka() as kafka, embedded_postgres() as postgres:
            sys.stdout.write(
                f"export HEADRACE_KAFKA={kafka}\n"
                "export HEADRACE_KAFKA_FETCH_WAIT_MS=10\n"
                f"export HEADRACE_POSTGRES={postgres}\n"
            )
            sys.stdout.flush()
            while True:
                signal.pause()
    except KeyboardInterrupt:
        return 0
    except ServerError as error:
        sys.stderr.write(f"{error}\n")
        return 3


if __name__ == "__main__":
    sys.exit(main())
