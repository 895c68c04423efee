"""Where a tumour comes from: the cards of the models that read its expression profile."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from guarantee.card import Card, Code, Kind, Label, Mode, Regulatory, Reliance, Responsibility, Text
from guarantee.home import Home
from models import cohorts
from models.cohorts import Cohort
from models.errors import ModelsError
from models.training import Parameters


class UnknownRecipe(ModelsError):
    """No model of this name can be trained without a card of one's own; `--card` gives one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a model of ours is trained: its card, its cohort and the parameters found for it."""

    card: Callable[[], Card]
    cohort: Callable[[Home], Cohort]
    parameters: Parameters


def recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UnknownRecipe: There is none.
    """
    found = RECIPES.get(name)
    if found is None:
        raise UnknownRecipe(
            f"{name} is none of {', '.join(RECIPES)}; to train a model of your own, "
            "give its card with --card and its data with --cohort"
        )
    return found


def _label(label_id: str, fr: str, en: str, icd_o: str, cim: str) -> Label:
    """A label with ICD-O-3 topographies and CIM-10 categories, each separated by spaces."""
    return Label(
        id=label_id,
        words=Text(fr=fr, en=en),
        codes=(
            *(Code(system="ICD-O-3", code=code) for code in icd_o.split()),
            *(Code(system="CIM-10", code=code) for code in cim.split()),
        ),
    )


MICROARRAY_LABELS: Final = (
    _label("bladder", "vessie", "bladder", "C67.9", "C67"),
    _label("breast", "sein", "breast", "C50.9", "C50"),
    _label(
        "central-nervous-system",
        "système nerveux central",
        "central nervous system",
        "C71.9",
        "C71",
    ),
    _label("colorectal", "côlon ou rectum", "colon or rectum", "C18.9 C19.9 C20.9", "C18 C19 C20"),
    _label("kidney", "rein", "kidney", "C64.9", "C64"),
    _label("leukaemia", "leucémie aiguë", "acute leukaemia", "C42.1", "C91.0 C92.0"),
    _label("lung", "poumon", "lung", "C34.9", "C34"),
    _label(
        "lymphoma",
        "lymphome B (folliculaire ou à grandes cellules)",
        "B-cell lymphoma (follicular or large-cell)",
        "C77.9",
        "C82 C83.3",
    ),
    _label("melanoma", "mélanome", "melanoma", "C44.9", "C43"),
    _label("mesothelioma", "mésothéliome pleural", "pleural mesothelioma", "C38.4", "C45.0"),
    _label("ovary", "ovaire", "ovary", "C56.9", "C56"),
    _label("pancreas", "pancréas", "pancreas", "C25.9", "C25"),
    _label("prostate", "prostate", "prostate", "C61.9", "C61"),
    _label("uterus", "corps de l’utérus", "body of the uterus", "C54.9", "C54"),
)


def microarray_card() -> Card:
    """The card of `tumour-origin-microarray`, trained on GCM."""
    return Card(
        name="tumour-origin-microarray",
        title=Text(
            fr="Origine d’une tumeur d’après une puce à ADN",
            en="Origin of a tumour from a microarray",
        ),
        intended_use=Text(
            fr="Proposer, parmi quatorze origines, celles que rend plausibles le profil "
            "d’expression d’une tumeur, à côté de l’examen clinique, de l’imagerie et de "
            "l’anatomopathologie.",
            en="Suggest which of fourteen origins the expression profile of a tumour makes "
            "plausible, beside clinical examination, imaging and pathology.",
        ),
        population=Text(
            fr="Tumeurs primitives de l’adulte et de l’enfant, prélevées avant 2002 pour la "
            "plupart aux États-Unis ; 190 tumeurs, dont l’âge, le sexe et l’origine des "
            "patients ne sont pas connus ici.",
            en="Primary tumours of adults and children, collected before 2002, mostly in the "
            "United States; 190 tumours, whose patients' age, sex and background are not known "
            "here.",
        ),
        not_for=Text(
            fr="Décider seul d’un traitement ; les métastases et les cancers de primitif inconnu, "
            "sur lesquels le modèle n’a pas été évalué ; les tumeurs bénignes et le tissu sain ; "
            "toute autre technique que les puces Affymetrix Hu6800 et Hu35KsubA.",
            en="Deciding on a treatment alone; metastases and cancers of unknown primary, on which "
            "the model was not evaluated; benign tumours and normal tissue; any technique other "
            "than the Affymetrix Hu6800 and Hu35KsubA arrays.",
        ),
        provenance=Text(
            fr="GCM : Ramaswamy et al., PNAS 2001;98:15149, dans la sélection de 1 363 sondes de "
            "de Souto et al., BMC Bioinformatics 2008;9:497. Les patients n’y sont pas "
            "identifiés : un même patient pourrait y figurer deux fois, et l’exactitude affichée "
            "en serait flattée.",
            en="GCM: Ramaswamy et al., PNAS 2001;98:15149, in the selection of 1,363 probes by "
            "de Souto et al., BMC Bioinformatics 2008;9:497. Its patients are not identified: one "
            "patient might appear twice, which would flatter the accuracy shown.",
        ),
        limits=Text(
            fr="Environ une réponse sur quatre est fausse. Dix à trente tumeurs par origine "
            "seulement : les exactitudes par origine sont très incertaines ; vessie, poumon, "
            "ovaire et pancréas sont les moins bien reconnus. Les sondes ont été choisies sur "
            "ces mêmes tumeurs. Aucune évaluation dans un autre laboratoire. Une tumeur d’une "
            "origine absente de la liste recevra quand même une réponse de la liste.",
            en="About one answer in four is wrong. There are only ten to thirty tumours for each "
            "origin: accuracies by origin are very uncertain; bladder, lung, ovary and pancreas "
            "are recognised least well. The probes were selected on these same tumours. Never "
            "evaluated in another laboratory. A tumour of an origin outside the list still gets "
            "an answer from the list.",
        ),
        kind=Kind.FIXED,
        reliance=Reliance.AIDED,
        regulatory=Regulatory(regulation="none", ce_marked=False),
        labels=MICROARRAY_LABELS,
        responsibilities=(
            Responsibility(
                holder="Garant",
                duty=Text(
                    fr="Concevoir le modèle, dire ses limites, corriger ses défauts.",
                    en="Design the model, state its limits, correct its faults.",
                ),
            ),
            Responsibility(
                holder="Clinician",
                duty=Text(
                    fr="Informer le patient, décider, signer, lui dire ce qui a été conclu.",
                    en="Inform the patient, decide, sign, and tell them what was concluded.",
                ),
            ),
            Responsibility(
                holder="College of human guarantee",
                duty=Text(
                    fr="Approuver les versions, revoir des cas tirés au sort, lever les "
                    "suspensions.",
                    en="Approve versions, review cases drawn at random, lift suspensions.",
                ),
            ),
        ),
        leaflet=Text(
            fr="Un programme informatique a comparé l’activité de 1 363 gènes de la tumeur à "
            "celle de 190 tumeurs d’origine connue. Il propose l’organe d’où elle pourrait "
            "venir, avec une probabilité, et montre ce qui l’y conduit. Il se trompe environ une "
            "fois sur quatre. C’est un outil de recherche : il ne décide de rien. Votre médecin "
            "décide, peut ne pas suivre sa proposition, et vous dit ce qu’il en conclut. Vous "
            "pouvez vous opposer à son emploi à tout moment, sans conséquence sur vos soins.",
            en="A computer program compared the activity of 1,363 genes of the tumour with that "
            "of 190 tumours whose origin was known. It suggests the organ that the tumour may "
            "come from, with a probability, and shows what leads it there. It is wrong about one "
            "time in four. It is a research tool: it decides nothing. Your doctor decides, may "
            "set its suggestion aside, and tells you what they conclude. You may object to its "
            "use at any time, with no consequence for your care.",
        ),
        least_mode=Mode.SHOWN,
        lapse_hours=72,
    )


RECIPES: Final[Mapping[str, Recipe]] = {
    "tumour-origin-microarray": Recipe(
        card=microarray_card,
        cohort=lambda home: cohorts.gcm(home.cohorts),
        # Found by cross-validation over seeds on the same tumours, so slightly flattered.
        parameters=Parameters(rounds=100, max_depth=2, colsample_bynode=0.05, min_child_weight=0.3),
    ),
}


def named_cohort(name_or_path: str, home: Home, folder: Path | None = None) -> Cohort:
    """`gcm`, `tcga-mirna` (from `folder`), or a cohort file's path.

    Raises:
        CohortUnavailable: It cannot be fetched or found.
        MalformedCohort: The file is not a cohort.
    """
    if name_or_path == "gcm":
        return cohorts.gcm(home.cohorts)
    if name_or_path == "tcga-mirna":
        return cohorts.tcga_mirna(folder)
    return cohorts.read(Path(name_or_path))
