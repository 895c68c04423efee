"""The cards of the models that learn, with the change protocol of each."""

from typing import Final

from guarantee.card import (
    Bound,
    Card,
    ChangeProtocol,
    Family,
    Kind,
    Measure,
    MonitoringPolicy,
    Response,
    Rule,
    Text,
)
from models import heart_disease
from models.learning_origins import MICROARRAY_LATER
from models.tumour_origin import MICROARRAY_LABELS, MIRNA_LABELS, microarray_card, mirna_card

KNOWN_BY_2012: Final = frozenset(
    {
        *("BLCA", "BRCA", "CESC", "COADREAD", "HNSC", "KIRC", "KIRP", "LGG", "LIHC"),
        *("LUAD", "LUSC", "OV", "PRAD", "SKCM", "STAD", "THCA", "UCEC"),
    }
)
"""Origins of which TCGA had shipped a tumour by the end of 2011."""

_DATA: Final = Text(
    fr="Les issues confirmées des patients informés de cette réutilisation, qui ne s’y sont pas "
    "opposés et ne sont pas effacés, à la suite de la cohorte de la première version.",
    en="Confirmed outcomes of patients who were told of this reuse, did not object to it and were "
    "not erased, behind the cohort of the first version.",
)
_RULES: Final = (
    # What hospitals send changes from month to month, and every feature with it.
    Rule(family=Family.WATCHED, then=Response.ALERT, least_columns=3, least_shift=0.5),
    Rule(family=Family.ANSWERS, then=Response.ALERT, least_shift=0.5),
    Rule(family=Family.SUBGROUPS, then=Response.ALERT, least_shift=0.3),
    Rule(family=Family.LIKENESS, then=Response.ALERT),
    Rule(family=Family.LIKENESS, then=Response.SUSPEND, least_shift=0.1),
)
_LEAFLET: Final = Text(
    fr=" Ce programme apprend : si vous ne vous y opposez pas, la réponse confirmée de votre cas "
    "peut servir à l’améliorer. Vous pouvez refuser cela seul.",
    en=" This program learns: if you do not object, the confirmed answer of your case may serve to "
    "improve it. You may refuse that alone.",
)


def mirna_learning_card() -> Card:
    """The card of `tumour-origin-learning`, which knows at first what TCGA had shipped by 2012."""
    card = mirna_card()
    return _learning(
        card,
        {
            "name": "tumour-origin-learning",
            "labels": tuple(label for label in MIRNA_LABELS if label.id in KNOWN_BY_2012),
            "intended_use": Text(
                fr="Proposer, parmi les origines de sa liste, dix-sept au départ, celles que rend "
                "plausibles le profil de microARN d’une tumeur, à côté de l’examen clinique, de "
                "l’imagerie et de l’anatomopathologie ; et apprendre de ce qui est confirmé.",
                en="Suggest which of the origins on its list, seventeen at first, the microRNA "
                "profile of a tumour makes plausible, beside clinical examination, imaging and "
                "pathology; and learn from what is confirmed.",
            ),
            "population": Text(
                fr="Tumeurs de l’adulte, congelées, prélevées avant traitement pour la plupart : "
                "au départ les 4 075 prélèvements du programme TCGA reçus en 2010 et 2011.",
                en="Tumours of adults, frozen, most taken before treatment: at first the 4,075 "
                "samples that the TCGA programme received in 2010 and 2011.",
            ),
            "provenance": Text(
                fr="TCGA, état du 1er novembre 2015, les prélèvements reçus avant 2012 : 680 "
                "précurseurs de microARN, lus par leurs rangs dans chaque profil. Analyse "
                "discriminante linéaire à covariance régularisée, toutes les origines également "
                "probables a priori ; un profil loin de tous les centres, ou lacunaire, est lu par "
                "une analyse discriminante qui laisse de côté ce qui manque. Elle se réapprend en "
                "quelques secondes.",
                en="TCGA, as of 1 November 2015, samples received before 2012: 680 microRNA "
                "stem-loops, read by their ranks within each profile. Linear discriminant analysis "
                "with a shrunk covariance, every origin as probable as any other beforehand; a "
                "profile far from all centroids, or with gaps, is read by a discriminant that "
                "leaves out what is missing. It is trained anew in seconds.",
            ),
            "limits": Text(
                fr="Une tumeur d’une origine absente de la liste reçoit une réponse de la liste, "
                "souvent sans être signalée. Une nouvelle origine n’est proposée "
                "qu’après vingt cas confirmés. Ni métastases ni prélèvements fixés au formol n’ont "
                "pu être évalués.",
                en="A tumour of an origin outside the list gets an answer from the list, often "
                "without being flagged. A new origin is suggested only after twenty confirmed "
                "cases. Neither metastases nor formalin-fixed samples could be evaluated.",
            ),
        },
        MonitoringPolicy(
            window_cases=400,
            rules=_RULES,
            bounds=(
                *MonitoringPolicy().bounds,
                Bound(measure=Measure.ACCURACY, least=0.9),
            ),
        ),
        ChangeProtocol(
            data=_DATA,
            least_new_cases=100,
            window_cases=100,
            least_locked_cases=300,
            least_accuracy_gained=0,
            most_accuracy_lost=0.01,
            most_flipped_share=0.03,
            new_labels=tuple(label for label in MIRNA_LABELS if label.id not in KNOWN_BY_2012),
            new_labels_from_cases=20,
        ),
    )


def microarray_learning_card() -> Card:
    """The card of `tumour-origin-microarray-learning`, which knows eleven origins at first."""
    card = microarray_card()
    return _learning(
        card,
        {
            "name": "tumour-origin-microarray-learning",
            "labels": tuple(
                label for label in MICROARRAY_LABELS if label.id not in MICROARRAY_LATER
            ),
            "intended_use": Text(
                fr="Montrer sur de vraies tumeurs comment un modèle apprend de ce qui est "
                "confirmé : proposer, parmi onze origines au départ, celles que rend plausibles "
                "le profil d’expression d’une tumeur.",
                en="Show on real tumours how a model learns from what is confirmed: suggest which "
                "of its origins, eleven at first, the expression profile of a tumour makes "
                "plausible.",
            ),
            "population": Text(
                fr="Au départ, deux sur trois des tumeurs de onze origines du jeu GCM, prélevées "
                "avant 2002 pour la plupart aux États-Unis ; l’âge, le sexe et l’origine des "
                "patients ne sont pas connus ici. Les autres tumeurs restent à venir.",
                en="At first, two of three tumours of eleven origins of GCM, collected before "
                "2002, mostly in the United States; patients' age, sex and background are not "
                "known here. The other tumours are left to arrive.",
            ),
            "limits": Text(
                fr="Fait pour être essayé : cent six tumeurs au départ, dont vingt-deux "
                "verrouillées, si bien qu’une seule réponse décide d’une mise à jour. Environ une "
                "réponse sur six est fausse parmi les origines connues au départ. Toute tumeur "
                "d’une autre origine reçoit une réponse de la liste.",
                en="Made to be tried: one hundred and six tumours at first, twenty-two of them "
                "locked, so that a single answer decides on an update. About one answer in six is "
                "wrong among the origins known at first. Any tumour of another origin gets an "
                "answer from the list.",
            ),
            "leaflet": Text(
                fr="Un programme informatique a comparé l’activité des gènes de la tumeur, en "
                "1 363 mesures, à celle d’une centaine de tumeurs d’origine connue. Il propose "
                "l’organe d’où elle pourrait venir, avec une probabilité, et montre ce qui l’y "
                "conduit. Il se trompe souvent. C’est un outil de recherche : il ne décide de "
                "rien. Votre médecin décide, peut ne pas suivre sa proposition, et vous dit ce "
                "qu’il en conclut. Vous pouvez vous opposer à son emploi à tout moment, sans "
                "conséquence sur vos soins.",
                en="A computer program compared the activity of the tumour's genes, in 1,363 "
                "measurements, with that of about a hundred tumours whose origin was known. It "
                "suggests the organ that the tumour may come from, with a probability, and shows "
                "what leads it there. It is often wrong. It is a research tool: it decides "
                "nothing. Your doctor decides, may set its suggestion aside, and tells you what "
                "they conclude. You may object to its use at any time, with no consequence for "
                "your care.",
            ),
        },
        MonitoringPolicy(least_cases=20, window_cases=40, rules=_RULES),
        ChangeProtocol(
            data=_DATA,
            least_new_cases=8,
            window_cases=12,
            least_locked_cases=20,
            least_accuracy_gained=0,
            most_accuracy_lost=0.05,
            most_flipped_share=0.2,
            new_labels=tuple(label for label in MICROARRAY_LABELS if label.id in MICROARRAY_LATER),
            new_labels_from_cases=4,
        ),
    )


def heart_disease_learning_card() -> Card:
    """The card of `heart-disease-learning`, which knows Cleveland at first."""
    return _learning(
        heart_disease.card(),
        {
            "name": "heart-disease-learning",
            "limits": Text(
                fr="Apprise au départ de quatre cinquièmes des patients de Cleveland ; le reste, "
                "verrouillé, juge les mises à jour. Les limites de « heart-disease », apprise de "
                "tous, valent ici aussi : d’autres hôpitaux mesurent autre chose, et la maladie y "
                "est plus fréquente. Ce que devient le modèle dépend de ce qui lui est confirmé : "
                "apprendre d’un hôpital peut le rendre pire dans le suivant.",
                en="At first learned from four fifths of Cleveland's patients; the others, locked, "
                "judge its updates. The limits of “heart-disease”, which learned from all, hold "
                "here, too: other hospitals measure other things, and the disease is more frequent "
                "there. What becomes of the model depends on what is confirmed to it: learning "
                "from one hospital may make it worse in the next.",
            ),
        },
        MonitoringPolicy(least_cases=50, window_cases=150, rules=_RULES),
        ChangeProtocol(
            data=_DATA,
            least_new_cases=40,
            window_cases=40,
            least_locked_cases=50,
            least_accuracy_gained=0,
            most_accuracy_lost=0.05,
            most_flipped_share=0.2,
        ),
    )


def _learning(
    card: Card, update: dict[str, object], monitoring: MonitoringPolicy, protocol: ChangeProtocol
) -> Card:
    changed = card.model_copy(update=update)
    title, leaflet = changed.title, changed.leaflet
    return changed.model_copy(
        update={
            "title": Text(fr=f"{title.fr}, qui apprend", en=f"{title.en}, which learns"),
            "leaflet": Text(fr=leaflet.fr + _LEAFLET.fr, en=leaflet.en + _LEAFLET.en),
            "kind": Kind.LEARNING,
            "monitoring": monitoring,
            "change_protocol": protocol,
        }
    )
