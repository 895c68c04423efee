"""What a member's machine signs for a service that shows it something else."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from guarantee.college_commands import college_app
from guarantee.signature import new_key

ANNOUNCEMENT, REASON = "019a8f3c-0000-7000-8000-000000000000", "the secret is lost"


@contextmanager
def _shows(payload: str, got: list[dict[str, object]]) -> Iterator[str]:
    """The address of a service that shows this to sign, and what it got."""

    class Shows(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.append(body)
            answer = {"title": "Sign", "detail": "a signature is needed", "payload": payload}
            status = 422
            if "signature" in body:
                answer, status = {"record_id": "recorded"}, 201
            encoded = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base has it
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Shows) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("follows", "reason", "signed"),
    [
        (ANNOUNCEMENT, REASON, True),
        (ANNOUNCEMENT, "she may not draw", False),
        ("another announcement", REASON, False),
    ],
)
def test_a_draw_is_given_up_for_the_members_own_reason_alone(
    tmp_path: Path, follows: str, reason: str, *, signed: bool
) -> None:
    key = tmp_path / "mine.jwk"
    key.write_text(new_key())
    key.chmod(0o600)
    payload = {"type": "DrawAbandoned", "follows": [follows], "body": {"reason": reason}}
    got: list[dict[str, object]] = []
    with _shows(json.dumps(payload), got) as service:
        asked = ["abandon", ANNOUNCEMENT, "--reason", REASON, "--key", str(key)]
        where = ["--service", service, "--token", "token"]
        done = CliRunner().invoke(college_app, [*asked, *where])
    assert [("signature" in body) for body in got] == [False] + [True] * signed
    assert (done.exit_code == 0) is signed
    assert ("not what you asked for" in done.output) is not signed
