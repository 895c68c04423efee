"""A Garant service elsewhere, as a member's own machine reaches it: JSON over HTTPS."""

import http.client
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from guarantee.errors import GuaranteeError
from guarantee.signing_keys import SignatureNeeded

_SECONDS = 60
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class RemoteRefused(GuaranteeError):
    """The service refused; carries its words."""


class RemoteUnavailable(GuaranteeError):
    """No answer came: what was asked may have been recorded; ask again in the same words."""


@dataclass(frozen=True, slots=True)
class Remote:
    """One service and who calls it.

    Attributes:
        url: Where it answers, as "https://garant.hospital.example".
        token: The caller's bearer token.
    """

    url: str
    token: str = field(repr=False)

    def post(self, path: str, body: dict[str, Any], *, once: str | None = None) -> dict[str, Any]:
        """Send a body and give the reply's.

        Args:
            path: From "/v1" on.
            body: What is sent, as JSON.
            once: An idempotency key: the same request under it is recorded once.

        Raises:
            SignatureNeeded: Sign this with your own key, and ask again; carries what to sign.
            RemoteRefused: The service refused, or the address is not one to send a token to.
            RemoteUnavailable: There was no answer, or not one of a Garant.
        """
        headers = {"Content-Type": "application/json"}
        if once is not None:
            headers["Idempotency-Key"] = once
        return self._ask("POST", path, json.dumps(body).encode(), headers)

    def get(self, path: str) -> dict[str, Any]:
        """Like `post`, of a call that only reads."""
        return self._ask("GET", path, None, {})

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> dict[str, Any]:
        connection = self._connection()
        try:
            sent = {**headers, "Authorization": f"Bearer {self.token}"}
            connection.request(method, urlsplit(self.url).path.rstrip("/") + path, body, sent)
            reply = connection.getresponse()
            status, content = reply.status, json.loads(reply.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise RemoteUnavailable(f"{self.url} gave no answer that can be read") from error
        finally:
            connection.close()
        if not isinstance(content, dict):
            raise RemoteUnavailable(f"{self.url} does not answer as a Garant does")
        if status >= http.client.BAD_REQUEST:
            detail = str(content.get("detail", ""))
            if isinstance(payload := content.get("payload"), str):
                raise SignatureNeeded(detail, payload.encode())
            raise RemoteRefused(f"{content.get('title', status)}: {detail}")
        return content

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        if parts.scheme == "https":
            return http.client.HTTPSConnection(host, parts.port, timeout=_SECONDS)
        if parts.scheme == "http" and host in _LOOPBACK:
            return http.client.HTTPConnection(host, parts.port, timeout=_SECONDS)
        raise RemoteRefused("a token travels over https alone, or to this same machine")
