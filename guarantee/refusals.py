"""Why a record may not stand where it was sent to; each names what is missing."""

from guarantee.errors import GuaranteeError


class ProtocolError(GuaranteeError):
    """A record whose precondition fails: it is refused alone and never logged."""


class NotInformed(ProtocolError):
    """No information of the patient opens the gate; inform first."""


class Objected(ProtocolError):
    """The patient objected; there is no answer."""


class UnknownDossier(ProtocolError):
    """The log holds no such inference."""


class UnknownInformation(ProtocolError):
    """The log holds no such information of a patient."""


class AnswerWithheld(ProtocolError):
    """Another answer on this patient is withheld: this one must be, too."""


class InformedMeanwhile(ProtocolError):
    """The patient was informed anew while their objection was written: object again."""


class NotCaring(ProtocolError):
    """The dossier is not open to this clinician; the message names the ways there are."""


class StepMissing(ProtocolError):
    """An earlier step of the dossier was not taken; the message names it."""


class NothingToAccept(ProtocolError):
    """The model abstained: there is no answer that could be accepted."""


class AlreadyDone(ProtocolError):
    """The step was taken; append a correction instead."""


class UnknownModel(ProtocolError):
    """The log holds no such model or version."""


class NotApproved(ProtocolError):
    """The college has not approved that version."""


class NotServing(ProtocolError):
    """No version of the model is promoted, or another one is by now."""


class Suspended(ProtocolError):
    """The model was stopped; the college resumes it."""


class NotAMember(ProtocolError):
    """The actor has no seat in the college."""


class OwnKeyNeeded(ProtocolError):
    """The record does not name the key that its actor holds now: sign with that one."""


class Erased(ProtocolError):
    """The patient's records were erased; only headers are left."""


class RetentionRuns(ProtocolError):
    """The law has the patient's records kept; the message says until when."""


class RecordsMoved(ProtocolError):
    """More was recorded for the patient in the meantime; ask again."""


class OnHold(ProtocolError):
    """A legal hold keeps the patient's records from being erased."""


class RoleRefused(ProtocolError):
    """The actor's role may not append such a record."""
