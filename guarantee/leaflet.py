"""The leaflet that a patient reads before an AI is used, made from the model's card."""

from hashlib import sha256

from guarantee.card import Card, Kind, Language, Text

_HEADING = Text(
    fr="Une intelligence artificielle peut aider votre médecin",
    en="An artificial intelligence may help your physician",
)
_WHAT = Text(fr="À quoi elle sert", en="What it is for")
_LIMITS = Text(fr="Ce qu'elle ne sait pas faire", en="What it cannot do")
_RIGHTS_TITLE = Text(fr="Vos droits", en="Your rights")
_RIGHTS = Text(
    fr=(
        "Cette réponse n'est jamais une décision : un professionnel de santé la lit, peut "
        "l'écarter, et signe ce qu'il décide. Il vous dira l'interprétation qui en résulte. Vous "
        "pouvez vous opposer à son usage à tout moment, sans conséquence sur la qualité de vos "
        "soins, demander à voir ce qui a été enregistré et le faire rectifier."
    ),
    en=(
        "Its answer is never a decision: a health professional reads it, may set it aside, and "
        "signs what they decide. They will tell you the interpretation that results. You may "
        "object to its use at any time, without consequence for the quality of your care, ask "
        "to see what was recorded and have it rectified."
    ),
)
_REUSE_TITLE = Text(fr="Elle apprend", en="It learns")
_REUSE = Text(
    fr=(
        "Si vous ne le refusez pas, ce qui est enregistré de votre cas, sans votre nom, peut "
        "servir à entraîner de nouveau cette intelligence artificielle. C'est un autre but que "
        "vos soins. Vous pouvez refuser ce seul usage, à tout moment : il ne changera rien à vos "
        "soins, et les entraînements suivants se feront sans votre cas."
    ),
    en=(
        "Unless you refuse, what is recorded of your case, without your name, may be used to "
        "train this artificial intelligence again. That is another purpose than your care. You "
        "may refuse this use alone, at any time: nothing changes in your care, and later "
        "trainings leave your case out."
    ),
)
_LAW = Text(
    fr="Information prévue par l'article L. 4001-3 du code de la santé publique.",
    en="Information required by article L. 4001-3 of the French public health code.",
)


def leaflet(card: Card, language: Language) -> str:
    """The leaflet's text, in paragraphs; the same card gives the same text."""
    notice = card.regulatory.notice()
    paragraphs = [
        _HEADING.in_language(language),
        card.title.in_language(language),
        *([notice.in_language(language)] if notice else []),
        card.leaflet.in_language(language),
        _WHAT.in_language(language) + "\n" + card.intended_use.in_language(language),
        _LIMITS.in_language(language) + "\n" + card.limits.in_language(language),
        *(
            [_REUSE_TITLE.in_language(language) + "\n" + _REUSE.in_language(language)]
            if card.kind is Kind.LEARNING
            else []
        ),
        _RIGHTS_TITLE.in_language(language) + "\n" + _RIGHTS.in_language(language),
        _LAW.in_language(language),
    ]
    return "\n\n".join(paragraphs) + "\n"


def leaflet_digest(card: Card, language: Language) -> str:
    """SHA-256 of the leaflet's UTF-8 bytes, hexadecimal: which text the patient was given."""
    return sha256(leaflet(card, language).encode()).hexdigest()
