"""Logging: lines for people, or JSON for machines that collect them. Written to stderr, times in UTC."""

import json
import logging
import time


class JsonFormatter(logging.Formatter):
    """One JSON object per record; control characters in messages stay inside their quotes."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


class PlainFormatter(logging.Formatter):
    """`2026-01-01T00:00:00Z INFO  logger: message`; line breaks in messages are made visible."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's name
        """Write the record's line."""
        record.message = record.message.replace("\n", "\\n").replace("\r", "\\r")
        return super().formatMessage(record)


def configure(form: str, level: str) -> None:
    """Set up logging once, for the whole process. Libraries speak from warnings on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else PlainFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("torpor").setLevel(level.upper())
