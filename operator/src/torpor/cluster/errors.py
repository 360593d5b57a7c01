"""What the API server said no to: the one error of every client in this package.

On its own because the two clients that raise it are far apart in what they load: the operator's stands on the
official client, the command line's on httpx alone.
"""

LONGEST_MESSAGE = 1024


class ApiError(Exception):
    """The API server refused or could not be reached. `status` is the HTTP code, 0 without an answer."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}"[:LONGEST_MESSAGE])
        self.status = status
        self.reason = reason
        self.message = message[:LONGEST_MESSAGE]

    @property
    def conflict(self) -> bool:
        """Somebody else wrote first, or made an object of that name: look again."""
        return self.status == 409

    @property
    def refused(self) -> bool:
        """The server understood and said no (quota, validation, rights): another try changes nothing by
        itself.
        """
        return self.status in (400, 403, 404, 405, 413, 415, 422)
