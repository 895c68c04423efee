"""The BentoML service: builds the objects, mounts the rest.

Started by `garant serve` and by `bentoml serve serving.service:Garant` alike. It imports neither
mlflow nor evidently.
"""

import os

import bentoml
from bentoml._internal.utils.analytics import usage_stats
from starlette.types import ASGIApp, Receive, Scope, Send

from guarantee.ledger import Ledger
from guarantee.store import StoreUnavailable
from serving.oidc import issuer_of
from serving.settings import Settings

# `bentoml serve` asks whether it may phone home, and remembers the answer, before it imports this
# file and with it the word that it may not.
usage_stats.do_not_track.cache_clear()


class _Mounted:
    """What BentoML mounts when it imports this module; the application comes with the house.

    BentoML asks a Starlette application whether it knows the route, and else answers itself, with
    its own documentation and index. This is none, so every route but its probes comes here.
    """

    def __init__(self) -> None:
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # BentoML serves no request before it has made the service's instance.
        if self.app is None:
            raise RuntimeError("the service has not started")
        await self.app(scope, receive, send)


_mounted = _Mounted()


# BentoML's own metrics and access log name the path as it was sent; see serving.traffic.
@bentoml.service(metrics={"enabled": False}, logging={"access": {"enabled": False}})
@bentoml.asgi_app(_mounted, path="/", name="garant")
class Garant:
    """One worker: its own house over the shared home."""

    def __init__(self) -> None:
        """Open the house that the environment names."""
        # The process that starts the workers imports this file and answers nothing, so what
        # answers, two seconds of imports, is left to the workers.
        from serving.application import application
        from serving.house import House
        from serving.traffic import quieten

        quieten()
        self._house = House.open(Settings.read(os.environ))
        _mounted.app = application(self._house)

    # In this order: of a staticmethod around it, BentoML would not see the mark.
    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def prepare() -> None:
        """Before any worker starts: check the settings, make the log and the keys.

        Raises:
            InvalidSettings: The environment makes no settings.
            KeyUnavailable: No master key at hand opens the vault.
            StoreUnavailable: The log cannot be opened.
        """
        settings = Settings.read(os.environ)
        issuer_of(settings)
        Ledger.open(settings.home).close()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """Finish what was asked, then stop."""
        self._house.close()

    def __is_ready__(self) -> bool:
        """Whether the log can be read; `/readyz` is 503 where it cannot."""
        try:
            self._house.ledger.head()
        except StoreUnavailable:
            return False
        return True
