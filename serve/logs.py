"""Our log lines go through Serve's logger: into its files, with request id, deployment and replica beside them.

With `encoding: JSON` in the application's logging_config every line is one JSON object, `extra` fields included.
"""

import logging

SERVE_LOGGER = "ray.serve"
OURS = ("serve", "rhoray")


class ToServe(logging.Handler):
    """Hands every record to Serve's logger, whose handlers may change while a replica lives."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on."""
        logging.getLogger(SERVE_LOGGER).handle(record)


def log_through_serve() -> None:
    """Send this process's `serve` and `rhoray` loggers to Serve; more than one call changes nothing."""
    for name in OURS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        if not any(isinstance(handler, ToServe) for handler in logger.handlers):
            logger.addHandler(ToServe())
