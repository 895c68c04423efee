"""The HTTP application over one house: the calls, the documentation, the figures."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import bentoml
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guarantee.identity import Role
from serving import problems, tlog
from serving.house import House
from serving.rest import (
    college,
    custody,
    explanations,
    inferences,
    keys,
    log,
    models,
    patients,
)
from serving.rest.frame import TheHouse, only
from serving.traffic import Traffic

MOST_BYTES: Final = 4 * 1024 * 1024
_DESCRIPTION: Final = """
Clinical AI under a human guarantee: an answer only where the patient was informed, explained
exactly, decided on by a clinician, and recorded in a log that can only grow.

Errors are RFC 9457 problems: they name the field and the remedy, and never repeat a value.
A POST that records takes an `Idempotency-Key`: a retry under the same key records once.
"""
# Nothing comes from elsewhere: no script, no style, no image, no call.
_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)
# Swagger UI as BentoML carries it.
_ASSETS: Final = Path(bentoml.__file__).parent / "_internal" / "server" / "static_content"


def application(house: House) -> ASGIApp:
    """The application; it holds no state of its own."""
    app = FastAPI(
        title="Garant",
        description=_DESCRIPTION,
        version=_version(),
        openapi_url="/docs.json",
        docs_url=None,
        redoc_url=None,
        max_body_size=MOST_BYTES,
        # An exported span would hold the address as it was sent.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    app.state.house = house
    problems.install(app)
    threads = (models, patients, inferences, explanations, college, keys, log, custody, tlog)
    for thread in threads:
        app.include_router(thread.router)
    app.add_api_route("/", _home, include_in_schema=False)
    app.add_api_route("/docs", _documentation, include_in_schema=False)
    watchers = only(Role.MONITOR, Role.INTEGRATOR)
    app.add_api_route(
        "/metrics",
        _metrics,
        tags=["operations"],
        response_class=PlainTextResponse,
        dependencies=[watchers],
    )
    app.mount("/docs/assets", StaticFiles(directory=_ASSETS), name="assets")
    return Traffic(_Guarded(_Measured(app)))


class _Guarded:
    """Has nobody on the way keep an answer that does not say it may be, nor guess what it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        await self._app(scope, receive, guarded)


class _Measured:
    """Refuses a body by the length that it announces, as a problem; FastAPI counts the others."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        # The server has refused what is no number.
        if int(announced) > MOST_BYTES:
            await problems.too_large()(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _home() -> RedirectResponse:
    return RedirectResponse("/docs")


def _documentation() -> HTMLResponse:
    page = get_swagger_ui_html(
        openapi_url="/docs.json",
        title="Garant",
        swagger_js_url="/docs/assets/swagger-ui-bundle.js",
        swagger_css_url="/docs/assets/swagger-ui.css",
        swagger_favicon_url="data:,",
        swagger_ui_parameters={"validatorUrl": None},
    )
    page.headers["Content-Security-Policy"] = _POLICY
    return page


def _metrics(house: TheHouse) -> Response:
    """Figures for Prometheus: requests of all workers together, and what the log holds."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(house.figures)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _version() -> str:
    try:
        return version("garant")
    except PackageNotFoundError:
        return "0"
