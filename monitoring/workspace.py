"""Evidently's workspace in the home: a project a model, a run a report, for Evidently's own UI.

    evidently ui --workspace ~/.garant/monitoring/workspace

A run holds what its page holds: bins, tests and shares of columns, no case's value; the columns
themselves are not kept.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

from guarantee.home import Home
from monitoring.findings import Drifted, Stable

if TYPE_CHECKING:
    from evidently.core.report import Snapshot


def folder(home: Home) -> Path:
    """Where it is."""
    return home.monitoring / "workspace"


def keep(
    home: Home, *, name: str, version: str, finding: Stable | Drifted, snapshot: "Snapshot"
) -> None:
    """Add a run to the model's project, which is made with its first."""
    with warnings.catch_warnings():
        # Evidently's imports meet what NumPy and Litestar have deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        from evidently.sdk.models import ProjectModel
        from evidently.ui.workspace import Workspace

        workspace = Workspace.create(str(folder(home)))
        # Always the same: of two runs at once, both find one project.
        project = uuid5(NAMESPACE_URL, f"urn:garant:model:{name}")
        if workspace.get_project(project) is None:
            workspace.add_project(ProjectModel(id=project, name=name))
        word = "drift" if isinstance(finding, Drifted) else "stable"
        title = f"version {version}: {word}, {finding.cases} cases"
        workspace.add_run(project, snapshot, include_data=False, name=title)
