"""What every request works with: built once a process, shared by its threads, never changed."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from guarantee.home import Home
from guarantee.ledger import Ledger
from guarantee.versions import RegisteredVersion
from models import shelf
from models.served import ServedModel
from monitoring.metrics import Figures
from serving.auth import TokenIssuer
from serving.oidc import issuer_of
from serving.settings import Settings

_MOST_LOADED: Final = 16


class LoadedVersions:
    """Versions loaded from the shelf, each checked once against the log's digest."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._loading = threading.Lock()
        self._loaded: OrderedDict[str, ServedModel] = OrderedDict()

    def get(self, registered: RegisteredVersion) -> ServedModel:
        """The version, ready to answer.

        Raises:
            NotOnTheShelf: It is not laid out in this home.
            DigestMismatch: Its files are not those that the log registered.
            MalformedBundle: Its files do not make a version.
        """
        key = f"{registered.name}/{registered.version}/{registered.digest}"
        # One at a time: two requests that find a new version load it once.
        with self._loading:
            if key not in self._loaded:
                self._loaded[key] = shelf.load(
                    self._home,
                    name=registered.name,
                    version=registered.version,
                    digest=registered.digest,
                )
                if len(self._loaded) > _MOST_LOADED:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(key)
            return self._loaded[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The objects behind the service."""

    settings: Settings
    ledger: Ledger
    issuer: TokenIssuer
    versions: LoadedVersions = field(init=False)
    figures: Figures = field(init=False)

    def __post_init__(self) -> None:
        """Start with nothing loaded and nothing counted."""
        object.__setattr__(self, "versions", LoadedVersions(self.settings.home))
        object.__setattr__(self, "figures", Figures(self.ledger, self.settings.home))

    @classmethod
    def open(cls, settings: Settings) -> "House":
        """Open the log and the issuer of the settings' home, making both on first use.

        Raises:
            StoreUnavailable: The log cannot be opened.
            KeyUnavailable: A key file is damaged.
            IssuerUnavailable: The issuer's key file is damaged.
        """
        issuer = issuer_of(settings)
        return cls(settings=settings, ledger=Ledger.open(settings.home), issuer=issuer)

    def close(self) -> None:
        """Finish what was asked, then stop."""
        self.ledger.close()
