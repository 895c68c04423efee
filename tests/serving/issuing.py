"""An OpenID Connect issuer on loopback: discovery, keys that rotate, tokens of every kind."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

AUDIENCE = "garant.test"
DISCOVERY = "/realm/.well-known/openid-configuration"
Key = ECKey | OKPKey | RSAKey


class OutsideProvider:
    """What it publishes is in `documents`, by path; what was asked for is in `asked`."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/realm"
        self.asked: list[str] = []
        self.documents: dict[str, bytes] = {}
        self.reachable = True
        self.key: Key = ECKey.generate_key("P-256")
        self.publish(self.key)

    def publish(self, *keys: Key, **members: object) -> None:
        """Discovery and these keys, each with these further members."""
        self.documents[DISCOVERY] = json.dumps(
            {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        ).encode()
        self.documents["/realm/keys"] = json.dumps(
            {
                "keys": [
                    {
                        **key.as_dict(private=False),
                        "kid": key.thumbprint(),
                        "use": "sig",
                        **members,
                    }
                    for key in keys
                ]
            }
        ).encode()

    def claims(self, **changed: object) -> dict[str, Any]:
        """A clinician's, with some claims changed, or left out where they are None."""
        now = int(time.time())
        whole = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "f:a-keycloak-id:ans",
            "SubjectNameID": "810000000001",
            "iat": now,
            "exp": now + 3600,
            **changed,
        }
        return {name: value for name, value in whole.items() if value is not None}

    def token(
        self,
        *,
        key: Key | None = None,
        header: dict[str, Any] | None = None,
        more: dict[str, Any] | None = None,
        **changed: object,
    ) -> str:
        """A token, by the issuer's own key, or by another."""
        key = key or self.key
        algorithm = {"EC": "ES256", "OKP": "Ed25519", "RSA": "PS256"}[key.key_type]
        whole = {"alg": algorithm, "kid": key.thumbprint(), "typ": "at+jwt", **(header or {})}
        whole = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(
            whole, {**self.claims(**changed), **(more or {})}, key, algorithms=[whole["alg"]]
        )


@contextmanager
def provided() -> Iterator[OutsideProvider]:
    """The issuer, answering until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            provider.asked.append(self.path)
            found = provider.documents.get(self.path) if provider.reachable else None
            self.send_response(503 if found is None else 200)
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider = OutsideProvider(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()
