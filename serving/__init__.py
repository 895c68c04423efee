"""The roof: HTTP, tokens, and the settings that the environment gives."""

import os

# Before anything imports the libraries that read them: they phone home unless told.
for _variable, _word in (
    ("BENTOML_DO_NOT_TRACK", "True"),
    ("MLFLOW_DISABLE_TELEMETRY", "true"),
    ("DO_NOT_TRACK", "true"),
):
    os.environ.setdefault(_variable, _word)
