"""Explanations and training: python tests/benchmarks/explanation.py [--quick] [--only FIGURE]

Explained is XGBoost alone, since its own TreeSHAP is the bare call that yields the same
contributions: `tumour-origin-microarray` on GCM, fetched once from a package index; where
GARANT_COHORTS names the folder of TCGA, as many trees as deep on its 31 origins instead. Both
sides of a figure run in turns in this one process. `train` is `garant models train tumour-origin`
itself, in a process of its own; it needs GARANT_COHORTS, and is left out of `--quick`.
"""

import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import shap
import xgboost
from numpy.typing import NDArray

from models import bundle, cohorts, recipes
from models.boosted import Boosted
from models.cohorts import Cohort
from models.scoring import score
from models.served import ServedModel
from models.training import Parameters, train
from tests.benchmarks.figures import Figure, alternated, milliseconds, options
from tests.models.conftest import card_of

_MINUTES, _GIBIBYTES = 15, 4
_BATCH: Final = 1000


def folder_of_tcga() -> Path | None:
    named = os.environ.get("GARANT_COHORTS")
    return Path(named) if named else None


def cohort(scratch: Path, *, quick: bool) -> tuple[Cohort, Parameters]:
    """What the explained booster learns from; of TCGA a part, since trees alone decide the cost."""
    tcga = folder_of_tcga()
    if quick or tcga is None:
        # Kept between runs beside the tests' own, not in the scratch that goes.
        kept = Path(__file__).parents[2] / ".pytest_cache" / "d" / "garant-cohorts"
        recipe = recipes.recipe("tumour-origin-microarray")
        found = cohorts.gcm(kept if kept.is_dir() else scratch)
        return found, _once(recipe.parameters)
    whole = cohorts.tcga_mirna(tcga)
    some = whole.take(np.arange(0, len(whole.ids), 4))
    return some, _once(Parameters(rounds=100, max_depth=4, max_bin=64, colsample_bynode=0.1))


def _once(parameters: Parameters) -> Parameters:
    return replace(parameters, folds=2, site_folds=0, forward_parts=0)


def served(found: Cohort, parameters: Parameters, scratch: Path) -> ServedModel:
    labels = tuple(sorted(set(found.labels)))
    training = train(found, card_of(labels, "explained"), parameters)
    digest = bundle.write(training.bundle, scratch / "version")
    return bundle.load(scratch / "version", name="explained", version="1", digest=digest)


class Explained:
    """A served booster, and the two other ways to the same contributions."""

    def __init__(self, model: ServedModel, profiles: NDArray[np.float32]) -> None:
        if not isinstance(model.predictor, Boosted):
            raise TypeError("the bare call is XGBoost's own")
        self.model = model
        self.profiles = profiles
        self.booster = model.predictor.booster
        # A caller of many rows would let XGBoost use all threads, as we do.
        self.of_all_threads = xgboost.Booster(
            {"nthread": 0}, model_file=self.booster.save_raw("ubj")
        )
        self.explainer = shap.TreeExplainer(self.booster)
        self._row = 0

    def row(self) -> NDArray[np.float32]:
        self._row = (self._row + 1) % len(self.profiles)
        return self.profiles[self._row : self._row + 1]

    def ours(self) -> None:
        """An answer whole: calibrated, ranked, flagged, its sums checked."""
        self.model.answer(self.model.contract.profile(self.row()[0].astype(np.float64)))

    def bare(self) -> None:
        self.booster.predict(xgboost.DMatrix(self.row(), nthread=1), pred_contribs=True)

    def by_shap(self) -> None:
        self.explainer.shap_values(self.row())

    def ours_of_many(self, profiles: NDArray[np.float32]) -> None:
        self.model.predictor.explain(profiles)

    def bare_of_many(self, profiles: NDArray[np.float32]) -> None:
        self.of_all_threads.predict(xgboost.DMatrix(profiles), pred_contribs=True)


def explain_one(explained: Explained, slices: int, times: int) -> tuple[Figure, Figure]:
    ours, reference, ratio = alternated(
        lambda: milliseconds(explained.ours, times),
        lambda: milliseconds(explained.bare, times),
        slices,
    )
    again, by_shap, against_shap = alternated(
        lambda: milliseconds(explained.ours, times),
        lambda: milliseconds(explained.by_shap, times),
        slices,
    )
    return (
        Figure(
            figure="explain_one",
            ours=ours,
            reference=reference,
            ratio=ratio,
            unit="ms an answer, beside XGBoost's bare contributions",
            goal="<= 1.2 x",
            holds=ratio <= 1.2,
        ),
        Figure(
            figure="explain_one_shap",
            ours=again,
            reference=by_shap,
            ratio=against_shap,
            unit="ms an answer, beside a shap.TreeExplainer built once",
            goal="< 1 x",
            holds=against_shap < 1,
        ),
    )


def explain_batch(explained: Explained, slices: int, rows: int) -> Figure:
    profiles = np.resize(explained.profiles, (rows, explained.profiles.shape[1]))
    explained.ours_of_many(profiles)
    ours, reference, ratio = alternated(
        lambda: milliseconds(lambda: explained.ours_of_many(profiles), 1),
        lambda: milliseconds(lambda: explained.bare_of_many(profiles), 1),
        slices,
    )
    return Figure(
        figure="explain_batch",
        ours=ours,
        reference=reference,
        ratio=ratio,
        unit=f"ms for {rows} rows, beside XGBoost's bare contributions",
        goal="<= 1.1 x",
        holds=ratio <= 1.1,
    )


def score_stream(explained: Explained, scratch: Path, small: int, large: int) -> Figure:
    """Peak memory of scoring a large file, beside that of a small one, and the rate in its unit."""
    peaks, rate = [], 0.0
    for rows in (small, large):
        source = scratch / f"{rows}.csv"
        with source.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines)
            writer.writerow(["id", *explained.model.contract.names])
            for number in range(rows):
                writer.writerow([f"S{number}", *explained.row()[0]])
        command = [sys.executable, __file__, "--measure-scoring"]
        measured = subprocess.run(
            [*command, str(scratch / "version"), explained.model.digest, str(source)],
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        told = json.loads(measured.stdout)
        peaks.append(told["megabytes"])
        rate = rows / told["seconds"]
        source.unlink()
    return Figure(
        figure="score_stream",
        ours=peaks[1],
        reference=peaks[0],
        ratio=peaks[1] / peaks[0],
        unit=f"MB at the peak for {large} rows, beside {small}; {rate:.0f} rows/s",
        goal="<= 1.2 x",
        holds=peaks[1] <= 1.2 * peaks[0],
    )


def measure_scoring(folder: Path, digest: str, source: Path) -> None:
    """In a process of its own, whose peak is nobody else's."""
    model = bundle.load(folder, name="explained", version="1", digest=digest)
    began = time.perf_counter()
    with score(model, source, source.with_suffix(".out.csv")):
        pass
    told = {"seconds": time.perf_counter() - began, "megabytes": _own_peak()}
    sys.stdout.write(json.dumps(told))


def train_all(scratch: Path) -> Figure:
    """`garant models train tumour-origin` on all tumours, with every fold and figure."""
    began = time.perf_counter()
    command = [sys.executable, str(Path(__file__).parents[2] / "garant.py"), "models", "train"]
    subprocess.run(
        [*command, "tumour-origin", "--cohort", "tcga-mirna", "--home", str(scratch / "home")],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    minutes = (time.perf_counter() - began) / 60
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    gibibytes, processor = _megabytes(used.ru_maxrss) / 1024, (used.ru_utime + used.ru_stime) / 60
    return Figure(
        figure="train",
        ours=minutes,
        reference=None,
        ratio=minutes / _MINUTES,
        unit=f"minutes on {os.cpu_count()} cores, {processor:.1f} of processor, "
        f"{gibibytes:.2f} GB at the peak",
        goal=f"<= {_MINUTES} minutes within {_GIBIBYTES} GB",
        holds=minutes <= _MINUTES and gibibytes <= _GIBIBYTES,
    )


def _own_peak() -> float:
    """Of this process since it began, in megabytes."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return _megabytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    # Linux lets ru_maxrss start at the peak of the process that this one was forked from.
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _megabytes(maxrss: int) -> float:
    # Kilobytes on Linux, bytes on macOS.
    return maxrss / (1024 if sys.platform != "darwin" else 1024**2)


def main() -> None:
    if len(sys.argv) == 5 and sys.argv[1] == "--measure-scoring":
        measure_scoring(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
        return
    chosen = options(__doc__ or "")

    def wanted(*figures: str) -> bool:
        return not chosen.only or any(figure in chosen.only for figure in figures)

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if wanted("explain_one", "explain_batch", "score_stream"):
            found, parameters = cohort(scratch, quick=chosen.quick)
            explained = Explained(served(found, parameters, scratch), found.profiles)
            if wanted("explain_one"):
                for figure in explain_one(explained, *((40, 5) if chosen.quick else (100, 9))):
                    figure.print()
            if wanted("explain_batch"):
                explain_batch(explained, 3 if chosen.quick else 7, _BATCH).print()
            if wanted("score_stream"):
                sizes = (500, 4000) if chosen.quick else (1000, 20_000)
                score_stream(explained, scratch, *sizes).print()
        if wanted("train") and (not chosen.quick or chosen.only):
            if folder_of_tcga() is None:
                sys.stderr.write("train: set GARANT_COHORTS to the folder that holds tcga-mirna\n")
            else:
                train_all(scratch).print()


if __name__ == "__main__":
    main()
