"""How `tumour-origin` learns: members that know the cohort, and members for other laboratories."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import xgboost
from numpy.typing import NDArray

from models.boosted import Boosted
from models.centroids import Centroids
from models.cohorts import Cohort
from models.composite import Always, Average, View
from models.discriminant import Discriminant
from models.gated import Gated, Likeness
from models.laboratory import measured_elsewhere, mixed_with
from models.linear import Linear
from models.predictor import Predictor
from models.representation import Filled, Matched, Ranks
from models.training import Learn, Parameters, Progress, Rounds
from models.tumour_origin import MIRNA_LABELS

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

_Fitted = TypeVar("_Fitted")

PARAMETERS: Final = Parameters(
    rounds=150,
    learning_rate=0.18,
    max_depth=4,
    subsample=0.8,
    colsample_bynode=0.1,
    folds=3,
    site_folds=4,
    forward_parts=1,
    # Every tumour is learned from: the folds, hospitals and years left out judge.
    held_out_share=0.0,
)

# What experiments on hospitals left out and on made-up laboratories settled; see the card.
_LEVELS, _DIGITS = 16, 2
_FACTORS: Final = 100
_STRENGTH, _STRENGTH_MIXED, _STRENGTH_OF_RANKS, _STRENGTH_ELSEWHERE = 0.02, 0.015, 0.3, 0.003
_RARE, _RARE_OF_RANKS = 0.7, 0.5  # a class counts as its size to the power of 1 minus this
_SPREAD, _SPREAD_ELSEWHERE = 0.3, 1.2
_SCALE_ELSEWHERE: Final = 1 / 3.5
_COPIES: Final = 2
_LABORATORIES: Final = 60
_ABSENT: Final = -1.0  # below any matched value
_FAR: Final = 0.985
_HOPELESS: Final = 50.0  # nonsense is at a hundred, a made-up laboratory hardly ever at thirty
_MOST_MISSING: Final = 0.1
_FOLDS: Final = 3
_SHARES_HERE: Final = (0.12, 0.12, 0.26, 0.34, 0.16)
_MOST_HOST, _SHARE_OF_NODES = 0.4, 0.35
_LYMPHOID: Final = tuple(
    place for place, label in enumerate(MIRNA_LABELS) if label.id in {"DLBC", "THYM"}
)
_SHARES_ELSEWHERE: Final = (0.135, 0.68, 0.185)
_TEMPERATURE_ELSEWHERE: Final = 0.815
_STILL: Final = 1e-3
_NEVER: Final = -25.0  # the margin of a class that no training case has


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """What is fitted on one set of cases; all see matched columns.

    Those that are mixed have seen tumours with some normal tissue in them, too, as a metastasis
    has of the organ that it grows in.
    """

    matched: Matched
    boosted: Boosted
    boosted_mixed: Boosted
    linear: Linear
    linear_mixed: Linear
    ranks_mixed: View
    boosted_elsewhere: View
    linear_elsewhere: Linear
    discriminant_elsewhere: Discriminant
    likeness: Likeness

    def together(self) -> View:
        """The predictor that they make."""
        return View(
            representation=self.matched,
            seen_by=Gated(
                here=self.here(),
                elsewhere=self.elsewhere(),
                likeness=self.likeness,
                temperature=_TEMPERATURE_ELSEWHERE,
            ),
        )

    def here(self) -> Average:
        """Those for profiles like the cohort's, of matched columns."""
        return Average(
            members=(
                self.boosted,
                self.boosted_mixed,
                self.linear,
                self.linear_mixed,
                self.ranks_mixed,
            ),
            gate=Always(each=_SHARES_HERE),
        )

    def elsewhere(self) -> Average:
        """Those for other laboratories' profiles, of matched columns."""
        return Average(
            members=(self.boosted_elsewhere, self.linear_elsewhere, self.discriminant_elsewhere),
            gate=Always(each=_SHARES_ELSEWHERE),
        )


def learner(cohort: Cohort) -> Learn:
    """The learner of a cohort, which mixes the cohort's normal tissue, if any, into tumours."""
    hosts = cohort.tissue
    return partial(learn, hosts=np.empty((0, 0), np.float32) if hosts is None else hosts)


def learn(
    profiles: NDArray[np.float32],
    truth: NDArray[np.intp],
    runs: Sequence[NDArray[np.intp]],
    *,
    classes: int,
    parameters: Parameters,
    progress: Progress | None,
    hosts: NDArray[np.float32],
) -> list[Predictor]:
    """Predictors of miRNA profiles, log2(reads per million + 1), nothing missing; see `Learn`.

    Args:
        hosts: (m, n_features), normal tissue in the same unit; may be empty.
    """
    rounds = 2 * parameters.rounds + _rounds_elsewhere(parameters)
    counter = Rounds(len(runs) * rounds, progress)

    def one(rows: NDArray[np.intp]) -> Predictor:
        return fit(
            profiles[rows], truth[rows], classes=classes, parameters=parameters,
            counter=counter, hosts=hosts,
        ).together()  # fmt: skip

    return side_by_side(one, runs, parameters)


def learn_boosted(
    profiles: NDArray[np.float32],
    truth: NDArray[np.intp],
    runs: Sequence[NDArray[np.intp]],
    *,
    classes: int,
    parameters: Parameters,
    progress: Progress | None,
) -> list[Predictor]:
    """The boosted member of `learn` alone, to compare with; arguments as for `learn`."""
    counter = Rounds(len(runs) * parameters.rounds, progress)

    def one(rows: NDArray[np.intp]) -> Predictor:
        matched, boosted = fit_boosted(
            profiles[rows], truth[rows], classes=classes, parameters=parameters, counter=counter
        )
        return View(representation=matched, seen_by=boosted)

    return side_by_side(one, runs, parameters)


def side_by_side(
    one: Callable[[NDArray[np.intp]], _Fitted],
    runs: Sequence[NDArray[np.intp]],
    parameters: Parameters,
) -> list[_Fitted]:
    """What is fitted on each set of rows, in their order, whatever the number of threads."""
    threads = parameters.threads or os.cpu_count() or 1
    # Linear algebra on one thread a run: runs go side by side, and its sums do not depend on
    # how many cores there are.
    with _blas().limit(limits=1), ThreadPoolExecutor(min(threads, len(runs))) as pool:
        return list(pool.map(one, runs))


def fit_boosted(
    profiles: NDArray[np.float32],
    truth: NDArray[np.intp],
    *,
    classes: int,
    parameters: Parameters,
    counter: Rounds,
) -> tuple[Matched, Boosted]:
    """The boosted member of `fit`, and the representation that it sees."""
    matched = Matched.of(profiles, levels=_LEVELS, digits=_DIGITS)
    return matched, fit_trees(
        matched.columns(profiles), truth, classes=classes, settings=parameters.of_trees(),
        rounds=parameters.rounds, counter=counter,
    )  # fmt: skip


def fit(
    profiles: NDArray[np.float32],
    truth: NDArray[np.intp],
    *,
    classes: int,
    parameters: Parameters,
    counter: Rounds,
    hosts: NDArray[np.float32],
) -> Members:
    """Members of one set of cases, on one thread; arguments as for `learn`."""
    seed = parameters.seed
    matched, boosted = fit_boosted(
        profiles, truth, classes=classes, parameters=parameters, counter=counter
    )
    columns = matched.columns(profiles)
    mixed = matched.columns(
        mixed_with(profiles, _hosts(profiles, truth, hosts), most=_MOST_HOST, seed=seed)
    )
    away = [
        matched.columns(
            measured_elsewhere(profiles, laboratories=_LABORATORIES, seed=seed * _COPIES + copy)
        )
        for copy in range(_COPIES)
    ]
    usual = columns.mean(axis=0)
    # In their own unit: what hardly varies, as scarce miRNAs do, is left to say little.
    unit = np.full(columns.shape[1], np.median(columns.std(axis=0)))
    centroids = Centroids.of(columns, truth, classes=classes, factors=_FACTORS)
    filled = Filled(value=_ABSENT)
    both, twice = np.vstack([columns, mixed]), np.tile(truth, 2)
    return Members(
        matched=matched,
        boosted=boosted,
        boosted_mixed=fit_trees(
            mixed, truth, classes=classes, settings=parameters.of_trees(),
            rounds=parameters.rounds, counter=counter,
        ),
        linear=fit_linear(columns, truth, classes=classes, strength=_STRENGTH, units=unit),
        linear_mixed=fit_linear(both, twice, classes=classes, strength=_STRENGTH_MIXED, units=unit),
        ranks_mixed=_of_ranks(both, twice, classes=classes),
        boosted_elsewhere=View(
            representation=filled,
            seen_by=fit_trees(
                filled.columns(away[0]), truth, classes=classes,
                settings=_settings_elsewhere(parameters),
                rounds=_rounds_elsewhere(parameters), counter=counter,
            ),
        ),
        linear_elsewhere=fit_linear(
            np.vstack([columns, *(np.where(np.isnan(copy), usual, copy) for copy in away)]),
            np.tile(truth, _COPIES + 1),
            classes=classes, strength=_STRENGTH_ELSEWHERE, units=unit,
        ),
        discriminant_elsewhere=Discriminant(
            centroids=centroids, spread=_SPREAD_ELSEWHERE, scale=_SCALE_ELSEWHERE
        ),
        likeness=_likeness(columns, truth, centroids, classes=classes, seed=seed),
    )  # fmt: skip


def _hosts(
    profiles: NDArray[np.float32], truth: NDArray[np.intp], tissue: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Normal tissue, and for lymph nodes, of which there is none, tumours of lymphoid cells.

    Where the cohort has neither, all its tumours.
    """
    nodes = profiles[np.isin(truth, _LYMPHOID)]
    if not len(nodes):
        return tissue if len(tissue) else profiles
    wanted = int(len(tissue) * _SHARE_OF_NODES / (1 - _SHARE_OF_NODES))
    repeated = nodes[np.arange(max(wanted, len(nodes))) % len(nodes)]
    return np.vstack([tissue, repeated]) if len(tissue) else repeated


def _of_ranks(columns: NDArray[np.float32], truth: NDArray[np.intp], *, classes: int) -> View:
    ranks = Ranks()
    seen = ranks.columns(columns)
    spread = seen.std(axis=0)
    return View(
        representation=ranks,
        seen_by=fit_linear(
            seen, truth, classes=classes, strength=_STRENGTH_OF_RANKS, rare=_RARE_OF_RANKS,
            # What never varies has no unit, and no weight in any.
            units=np.where(spread > _STILL, spread, np.inf),
        ),
    )  # fmt: skip


def _settings_elsewhere(parameters: Parameters) -> dict[str, object]:
    return {
        **parameters.of_trees(),
        "learning_rate": 0.3,
        "max_bin": 16,
        "subsample": 0.5,
        "colsample_bynode": 0.05,
    }


def _rounds_elsewhere(parameters: Parameters) -> int:
    return max(1, parameters.rounds // 2)


def fit_trees(
    columns: NDArray[np.float32],
    truth: NDArray[np.intp],
    *,
    classes: int,
    settings: dict[str, object],
    rounds: int,
    counter: Rounds,
) -> Boosted:
    """XGBoost's trees, on one thread.

    Args:
        columns: (n, n_features), NaN where missing.
        truth: (n,), class indices.
        settings: Under XGBoost's own names.
    """
    matrix = xgboost.QuantileDMatrix(
        columns, truth, max_bin=int(str(settings["max_bin"])), nthread=1
    )
    return Boosted(
        booster=xgboost.train(
            {
                "objective": "multi:softprob",
                "num_class": classes,
                "tree_method": "hist",
                "nthread": 1,
                **settings,
            },
            matrix,
            rounds,
            callbacks=[counter],
        )
    )


def fit_linear(
    columns: NDArray[np.float32],
    truth: NDArray[np.intp],
    *,
    classes: int,
    strength: float,
    units: NDArray[np.floating],
    rare: float = _RARE,
) -> Linear:
    """Multinomial logistic regression.

    Args:
        rare: From 0, where every case counts the same, to 1, where every class does.
        units: (n_features,), what each column is divided by before its weight is held small.
    """
    from sklearn.linear_model import LogisticRegression

    usual = columns.mean(axis=0)
    counts = np.bincount(truth, minlength=classes)
    weight = (counts[counts > 0].mean() / counts[truth]) ** rare
    fitted = LogisticRegression(C=strength, max_iter=300, tol=1e-3).fit(
        ((columns - usual) / units).astype(np.float32),
        truth,
        sample_weight=weight.astype(np.float32),
    )
    weights = np.zeros((classes, columns.shape[1]))
    bases = np.full(classes, _NEVER)
    weights[fitted.classes_] = fitted.coef_ / units
    bases[fitted.classes_] = fitted.intercept_
    return Linear(
        weights=weights.astype(np.float32),
        bases=bases.astype(np.float32),
        usual=usual.astype(np.float32),
    )


def _likeness(
    columns: NDArray[np.float32],
    truth: NDArray[np.intp],
    centroids: Centroids,
    *,
    classes: int,
    seed: int,
) -> Likeness:
    """Too far is what few cases are from centroids made without them."""
    fold = np.random.default_rng(seed).permutation(len(truth)) % _FOLDS
    distances = np.empty(len(truth))
    for left_out in range(_FOLDS):
        others = fold != left_out
        distances[~others] = Centroids.of(
            columns[others], truth[others], classes=classes, factors=_FACTORS
        ).distances(columns[~others], spread=_SPREAD)
    return Likeness(
        centroids=centroids,
        spread=_SPREAD,
        most_distant=float(np.quantile(distances, _FAR)),
        hopeless=_HOPELESS,
        most_missing=_MOST_MISSING,
    )


def _blas() -> "ThreadpoolController":
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
