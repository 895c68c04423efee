"""Where a tumour comes from: the cards of the models that read its expression profile."""

from typing import Final

from guarantee.card import (
    Bound,
    Card,
    Code,
    Kind,
    Label,
    Measure,
    Mode,
    MonitoringPolicy,
    Regulatory,
    Reliance,
    Responsibility,
    Text,
)


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


DUTIES: Final = (
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
            fr="Approuver les versions, revoir des cas tirés au sort, lever les suspensions.",
            en="Approve versions, review cases drawn at random, lift suspensions.",
        ),
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


def watched(*, least_accuracy: float) -> MonitoringPolicy:
    """What is watched of any model, and how many of its answers are right at least.

    Args:
        least_accuracy: Somewhat below the worst that evaluation found where the model is for.
    """
    usual = MonitoringPolicy().bounds
    return MonitoringPolicy(bounds=(*usual, Bound(measure=Measure.ACCURACY, least=least_accuracy)))


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
            fr="Dix à trente tumeurs par origine seulement : les exactitudes par origine sont "
            "très incertaines ; vessie, poumon, ovaire et pancréas sont les moins bien reconnus. "
            "Les sondes ont été choisies sur ces mêmes tumeurs, sans leurs origines. Aucune "
            "évaluation dans un autre laboratoire. Une tumeur d’une origine absente de la liste "
            "recevra quand même une réponse de la liste. À moins de six mesures sur dix, il "
            "s’abstient. Des modèles linéaires font mieux sur ces tumeurs, comme le montre « "
            "garant models compare tumour-origin-microarray » ; celui-ci est fait d’arbres, pour "
            "l’exemple.",
            en="There are only ten to thirty tumours for each origin: accuracies by origin are "
            "very uncertain; bladder, lung, ovary and pancreas are recognised least well. The "
            "probes were selected on these same tumours, without their origins. Never evaluated "
            "in another laboratory. A tumour of an origin outside the list still gets an answer "
            "from the list. With fewer than six measurements in ten, it abstains. Linear models do "
            "better on these tumours, as “garant models compare tumour-origin-microarray” shows; "
            "this one is made of trees, as an example.",
        ),
        kind=Kind.FIXED,
        reliance=Reliance.AIDED,
        regulatory=Regulatory(regulation="none", ce_marked=False),
        labels=MICROARRAY_LABELS,
        responsibilities=DUTIES,
        leaflet=Text(
            fr="Un programme informatique a comparé l’activité des gènes de la tumeur, en 1 363 "
            "mesures, à celle de près de deux cents tumeurs d’origine connue. Il propose "
            "l’organe d’où elle pourrait venir, avec une probabilité, et montre ce qui l’y "
            "conduit. Il se trompe environ une fois sur quatre. C’est un outil de recherche : "
            "il ne décide de rien. Votre médecin décide, peut ne pas suivre sa proposition, et "
            "vous dit ce qu’il en conclut. Vous pouvez vous opposer à son emploi à tout moment, "
            "sans conséquence sur vos soins.",
            en="A computer program compared the activity of the tumour's genes, in 1,363 "
            "measurements, with that of nearly two hundred tumours whose origin was known. It "
            "suggests the organ that the tumour may "
            "come from, with a probability, and shows what leads it there. It is wrong about one "
            "time in four. It is a research tool: it decides nothing. Your doctor decides, may "
            "set its suggestion aside, and tells you what they conclude. You may object to its "
            "use at any time, with no consequence for your care.",
        ),
        least_mode=Mode.SHOWN,
        lapse_hours=72,
        least_known_share=0.6,
        monitoring=watched(least_accuracy=0.65),
    )


MIRNA_LABELS: Final = (
    _label("ACC", "corticosurrénalome", "adrenocortical carcinoma", "C74.0", "C74.0"),
    _label("BLCA", "vessie, carcinome urothélial", "bladder, urothelial carcinoma", "C67.9", "C67"),
    _label("BRCA", "sein, carcinome", "breast, carcinoma", "C50.9", "C50"),
    _label("CESC", "col de l’utérus", "cervix of the uterus", "C53.9", "C53"),
    _label("CHOL", "cholangiocarcinome", "cholangiocarcinoma", "C22.1 C24.0", "C22.1 C24.0"),
    _label(
        "COADREAD",
        "côlon ou rectum, adénocarcinome",
        "colon or rectum, adenocarcinoma",
        "C18.9 C19.9 C20.9",
        "C18 C19 C20",
    ),
    _label(
        "DLBC",
        "lymphome diffus à grandes cellules B",
        "diffuse large B-cell lymphoma",
        "C77.9",
        "C83.3",
    ),
    _label("ESCA", "œsophage, carcinome", "oesophagus, carcinoma", "C15.9", "C15"),
    _label(
        "HNSC",
        "tête et cou, carcinome épidermoïde",
        "head and neck, squamous cell carcinoma",
        "C00.9 C01.9 C02.9 C03.9 C04.9 C05.9 C06.9 C09.9 C10.9 C13.9 C32.9",
        "C00 C01 C02 C03 C04 C05 C06 C09 C10 C13 C32",
    ),
    _label("KICH", "rein, carcinome chromophobe", "kidney, chromophobe carcinoma", "C64.9", "C64"),
    _label(
        "KIRC", "rein, carcinome à cellules claires", "kidney, clear cell carcinoma", "C64.9", "C64"
    ),
    _label("KIRP", "rein, carcinome papillaire", "kidney, papillary carcinoma", "C64.9", "C64"),
    _label("LAML", "leucémie aiguë myéloïde", "acute myeloid leukaemia", "C42.1", "C92.0"),
    _label("LGG", "gliome de bas grade", "lower-grade glioma", "C71.9", "C71"),
    _label("LIHC", "carcinome hépatocellulaire", "hepatocellular carcinoma", "C22.0", "C22.0"),
    _label("LUAD", "poumon, adénocarcinome", "lung, adenocarcinoma", "C34.9", "C34"),
    _label(
        "LUSC", "poumon, carcinome épidermoïde", "lung, squamous cell carcinoma", "C34.9", "C34"
    ),
    _label("MESO", "mésothéliome pleural", "pleural mesothelioma", "C38.4", "C45.0"),
    _label("OV", "ovaire, carcinome séreux", "ovary, serous carcinoma", "C56.9", "C56"),
    _label("PAAD", "pancréas, adénocarcinome", "pancreas, adenocarcinoma", "C25.9", "C25"),
    _label(
        "PCPG",
        "phéochromocytome ou paragangliome",
        "phaeochromocytoma or paraganglioma",
        "C74.1 C75.5",
        "C74.1 C75.5",
    ),
    _label("PRAD", "prostate, adénocarcinome", "prostate, adenocarcinoma", "C61.9", "C61"),
    _label("SARC", "sarcome des tissus mous", "soft tissue sarcoma", "C48.0 C49.9", "C48.0 C49"),
    _label("SKCM", "mélanome cutané", "cutaneous melanoma", "C44.9", "C43"),
    _label("STAD", "estomac, adénocarcinome", "stomach, adenocarcinoma", "C16.9", "C16"),
    _label("TGCT", "testicule, tumeur germinale", "testis, germ cell tumour", "C62.9", "C62"),
    _label("THCA", "thyroïde, carcinome", "thyroid, carcinoma", "C73.9", "C73"),
    _label("THYM", "thymome", "thymoma", "C37.9", "C37"),
    _label("UCEC", "endomètre, carcinome", "endometrium, carcinoma", "C54.1", "C54.1"),
    _label("UCS", "carcinosarcome de l’utérus", "uterine carcinosarcoma", "C54.9", "C54"),
    _label("UVM", "mélanome de l’uvée", "uveal melanoma", "C69.3 C69.4", "C69.3 C69.4"),
)


def mirna_card() -> Card:
    """The card of `tumour-origin`, trained on TCGA's miRNA profiles."""
    return Card(
        name="tumour-origin",
        title=Text(
            fr="Origine d’une tumeur d’après ses microARN",
            en="Origin of a tumour from its microRNAs",
        ),
        intended_use=Text(
            fr="Proposer, parmi trente et une origines, celles que rend plausibles le profil de "
            "microARN d’une tumeur, à côté de l’examen clinique, de l’imagerie et de "
            "l’anatomopathologie.",
            en="Suggest which of thirty-one origins the microRNA profile of a tumour makes "
            "plausible, beside clinical examination, imaging and pathology.",
        ),
        population=Text(
            fr="Tumeurs de l’adulte, congelées, prélevées avant traitement pour la plupart : les "
            "8 905 prélèvements du programme TCGA, reçus de 2010 à 2014 d’hôpitaux nord-américains "
            "surtout et séquencés par un seul laboratoire.",
            en="Tumours of adults, frozen, most taken before treatment: the 8,905 samples of the "
            "TCGA programme, received from 2010 to 2014, mostly from North American hospitals, and "
            "sequenced by one laboratory.",
        ),
        not_for=Text(
            fr="Décider seul d’un traitement ; le tissu sain et les tumeurs bénignes, qui "
            "reçoivent le nom d’une tumeur comme les autres ; les glioblastomes et les autres "
            "origines absentes de la liste. Ni métastases ni prélèvements fixés au formol n’ont "
            "pu être "
            "évalués.",
            en="Deciding on a treatment alone; normal tissue and benign tumours, which get the "
            "name of a tumour like any other; glioblastomas and other origins outside the list. "
            "Neither metastases nor formalin-fixed samples could be evaluated.",
        ),
        provenance=Text(
            fr="TCGA, état du 1er novembre 2015 : 680 précurseurs de microARN que deux versions de "
            "miRBase ont en commun. Côlon et rectum, une même entité moléculaire, sont réunis. "
            "Chaque profil est lu par ses rangs, ramenés à l’échelle de TCGA : lectures par "
            "million, leur logarithme et comptes bruts donnent la même réponse. Pour les profils "
            "semblables à TCGA, moyenne des marges de deux modèles d’arbres (XGBoost) et de trois "
            "modèles linéaires ; trois des cinq ont appris aussi de tumeurs mêlées de tissu sain "
            "(598 prélèvements) ou lymphoïde, jusqu’à deux cinquièmes, faute de métastases. Pour "
            "les autres, moyenne de trois modèles dont deux ont appris de soixante laboratoires "
            "fictifs par copie. Choisi, par « garant models compare tumour-origin », entre "
            "logarithmes, log-rapports, rangs et échelle de TCGA, modèles linéaires et arbres, "
            "instruits ou non de laboratoires fictifs, seuls ou réunis.",
            en="TCGA, as of 1 November 2015: 680 microRNA stem-loops that two releases of miRBase "
            "share. Colon and rectum, one molecular entity, are merged. Each profile is read by "
            "its ranks, put on TCGA's scale: reads per million, their logarithm and raw counts get "
            "the same answer. For profiles like TCGA's, the mean of the margins of two models of "
            "trees (XGBoost) and three linear ones; three of the five learned also from tumours "
            "mixed with normal tissue (598 samples) or lymphoid tumours, up to two fifths, for "
            "want of metastases. For the others, the mean of three models of which two learned "
            "from sixty made-up laboratories a copy. Chosen, by “garant models compare "
            "tumour-origin”, among logarithms, log-ratios, ranks and TCGA's scale, linear models "
            "and trees, taught by made-up laboratories or not, alone or together.",
        ),
        limits=Text(
            fr="Un vrai laboratoire peut différer davantage que ceux qui sont inventés, et le "
            "tissu sain mêlé aux tumeurs avait servi à l’apprentissage. Œsophage et estomac, deux "
            "poumons, deux reins, foie et voies biliaires se confondent. Moins de cinquante-cinq "
            "cas de cholangiocarcinome, de lymphome, de carcinosarcome de l’utérus et de mélanome "
            "de l’uvée ; les leucémies viennent d’un seul hôpital. Une origine absente de la "
            "liste reçoit une réponse de la liste, le plus souvent sans être signalée. À moins de "
            "trois mesures sur vingt, il s’abstient.",
            en="A real laboratory may differ more than those made up, and the normal tissue mixed "
            "into tumours had served in training. Oesophagus and stomach, the two of the lung, "
            "those of the kidney, liver and bile ducts are taken for each other. Fewer than "
            "fifty-five cases of cholangiocarcinoma, lymphoma, uterine carcinosarcoma and uveal "
            "melanoma; all leukaemias come from one hospital. An origin outside the list gets an "
            "answer from the list, mostly without being flagged. With fewer than three "
            "measurements in twenty, it abstains.",
        ),
        kind=Kind.FIXED,
        reliance=Reliance.AIDED,
        regulatory=Regulatory(regulation="none", ce_marked=False),
        labels=MIRNA_LABELS,
        responsibilities=DUTIES,
        leaflet=Text(
            fr="Un programme informatique a comparé les microARN de la tumeur, de petites "
            "molécules qui règlent l’activité des gènes, à ceux de milliers de tumeurs d’origine "
            "connue. Il propose l’organe d’où elle pourrait venir, avec une probabilité, et montre "
            "ce qui l’y conduit. Il peut se tromper. C’est un outil de recherche : il ne décide "
            "de rien. Votre médecin décide, peut ne pas suivre sa proposition, et vous dit ce "
            "qu’il en conclut. Vous pouvez vous opposer à son emploi à tout moment, sans "
            "conséquence sur vos soins.",
            en="A computer program compared the tumour's microRNAs, small molecules that regulate "
            "the activity of genes, with those of thousands of tumours whose origin was known. It "
            "suggests the organ that the tumour may come from, with a probability, and shows what "
            "leads it there. It can be wrong. It is a research tool: it decides nothing. Your "
            "doctor decides, may set its suggestion aside, and tells you what they conclude. You "
            "may object to its use at any time, with no consequence for your care.",
        ),
        least_mode=Mode.SHOWN,
        lapse_hours=72,
        least_known_share=0.15,
        monitoring=watched(least_accuracy=0.9),
    )


def mirna_boosted_card() -> Card:
    """The card of `tumour-origin-xgboost`, the boosted member of `tumour-origin` by itself."""
    card = mirna_card()
    return card.model_copy(
        update={
            "name": "tumour-origin-xgboost",
            "title": Text(
                fr="Origine d’une tumeur d’après ses microARN, arbres seuls",
                en="Origin of a tumour from its microRNAs, trees alone",
            ),
            "not_for": Text(
                fr=f"Servir à la place de « tumour-origin », auquel il sert de comparaison. "
                f"{card.not_for.fr}",
                en=f"Serving in place of “tumour-origin”, to which it is compared. "
                f"{card.not_for.en}",
            ),
            "provenance": Text(
                fr="TCGA, état du 1er novembre 2015 : 680 précurseurs de microARN que deux "
                "versions de miRBase ont en commun. Côlon et rectum, une même entité "
                "moléculaire, sont réunis. Chaque profil est lu par ses rangs, ramenés à "
                "l’échelle de TCGA : lectures par million, leur logarithme et comptes bruts "
                "donnent la même réponse. Un seul modèle d’arbres (XGBoost), l’un des cinq que "
                "« tumour-origin » réunit pour les profils semblables à TCGA.",
                en="TCGA, as of 1 November 2015: 680 microRNA stem-loops that two releases of "
                "miRBase share. Colon and rectum, one molecular entity, are merged. Each "
                "profile is read by its ranks, put on TCGA's scale: reads per million, their "
                "logarithm and raw counts get the same answer. One model of trees (XGBoost), "
                "one of the five that “tumour-origin” joins for profiles like TCGA's.",
            ),
            "limits": Text(
                fr="Appris à un seul laboratoire : dans un autre, rien n’avertit que la part de "
                "ses mesures hors de l’usuel. À moins de la moitié des mesures, il s’abstient.",
                en="Learned at one laboratory: at another, nothing warns but the share of "
                "measurements out of the usual. With fewer than half of the measurements, it "
                "abstains.",
            ),
            "least_known_share": 0.5,
            "monitoring": watched(least_accuracy=0.85),
        }
    )
