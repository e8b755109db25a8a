"""Every error that symbio_lab raises on purpose, with a stable code and what to do next.

Rules:
    1. Bad input never surfaces as a bare ``ValueError`` or ``KeyError`` from a library: it is one of these.
    2. ``code`` is stable (the service and the command line print it); ``hint`` says what to do next.
    3. ``exit_code`` is what the command line returns: 2 bad input, 3 refused by a trust rule,
       4 a resource is missing (network, disk, package), 5 out of budget.

Example:
    >>> try:
    ...     raise UnknownDatasetError("clinc15", known=("clinc150", "helpdesk"))
    ... except SymbioError as error:
    ...     print(error.code, "|", error.hint)
    unknown_dataset | use one of: clinc150, helpdesk
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar


class SymbioError(Exception):
    """Root of all errors; ``str(error)`` is one line, ``hint`` the next step."""

    code: str = "error"
    exit_code: ClassVar[int] = 2
    hint: str = "see the documentation"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Let errors cross process boundaries, whatever their constructors take."""
        return (_rebuild, (type(self), str(self), self.__dict__))

    def to_json(self) -> dict[str, object]:
        """Return the error as the JSON object that ``--json`` prints."""
        return {"error": self.code, "message": str(self), "hint": self.hint}


def _rebuild(kind: type[SymbioError], message: str, state: dict[str, object]) -> SymbioError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


class ConfigError(SymbioError):
    """A configuration is wrong; all problems are reported at once."""

    code = "bad_config"
    hint = "correct the listed settings; 'symbio doctor' shows where each value comes from"

    def __init__(self, problems: Iterable[str], *, hint: str | None = None) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems), hint=hint)


class DataError(SymbioError):
    """The data given cannot be used as they are."""

    code = "bad_data"


class UnknownDatasetError(DataError):
    """No failure dataset or scenario has this name."""

    code = "unknown_dataset"

    def __init__(self, name: str, *, known: Sequence[str]) -> None:
        super().__init__(f"unknown dataset or scenario {name!r}", hint="use one of: " + ", ".join(known))


class MissingColumnsError(DataError):
    """A table lacks columns that its reader needs."""

    code = "missing_columns"

    def __init__(self, source: str, missing: Sequence[str], present: Sequence[str]) -> None:
        super().__init__(
            f"{source} lacks the column(s) {', '.join(missing)}",
            hint=f"it has: {', '.join(present) or 'none'}; rename a column or name the right field",
        )


class EmptySliceError(DataError):
    """Nothing is left to heal, judge or train on."""

    code = "empty_slice"
    hint = "widen the slice, lower n, or check that the model really fails on it"


class LeakageError(DataError):
    """Two splits that must be disjoint share a text or a group."""

    code = "leakage"
    hint = "rebuild the suite: repair, selection, holdout and control must not share groups"


class ModelError(SymbioError):
    """A model cannot be loaded or cannot be used for this."""

    code = "bad_model"


class ModelUnresolvedError(ModelError):
    """No model is found under this id or path."""

    code = "model_unresolved"
    exit_code = 4
    hint = "give a local path, a cached Hub id, or install the extra: pip install 'symbio-lab[offline]'"


class WrongTaskError(ModelError):
    """The model or patch serves another task type."""

    code = "wrong_task"
    hint = "use a model and a patch of the task type that the failures have"


class UnknownLabelsError(ModelError):
    """The failures carry labels that the model does not have."""

    code = "unknown_labels"

    def __init__(self, labels: Sequence[str], *, known: Sequence[str] = (), hint: str | None = None) -> None:
        """Name the labels, and those that the model has where ``known`` lists them."""
        has = f"; it has: {_first(known)}" if known else ""
        super().__init__(
            f"the model has no head row for {len(labels)} label(s): {_first(sorted(labels))}{has}",
            hint=hint or "use label_shift='new' so that patches may add rows, or map the labels to the model's own",
        )


def _first(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(f"{name:.60}" for name in names[:most]) + (" ..." if len(names) > most else "")


class BaseMismatchError(ModelError):
    """A patch was made for another base model."""

    code = "base_mismatch"
    exit_code = 3
    hint = "search again with this model's digest; a patch fits exactly one base"


class PatchApplyError(ModelError):
    """A verified patch does not fit the modules of the model."""

    code = "patch_does_not_fit"
    exit_code = 3
    hint = "the manifest names modules or shapes that this model does not have; ask its publisher"


class BudgetExceededError(SymbioError):
    """An arm spent its forwards-equivalent budget."""

    code = "budget_exceeded"
    exit_code = 5
    hint = "raise --budget-forwards for every arm alike, or lower the number of candidates"


class HealingTimeoutError(SymbioError):
    """The wall-clock limit stopped a run (it never steers one)."""

    code = "timeout"
    exit_code = 5
    hint = "raise the wall limit; finished work is kept and the next run resumes"


class HealingCancelledError(SymbioError):
    """Somebody asked for the end of a run; nothing was deployed."""

    code = "cancelled"
    exit_code = 5
    hint = "ask for it again when it is wanted"


class MissingExtraError(SymbioError):
    """An optional package is not installed."""

    code = "missing_extra"
    exit_code = 4

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"the package {package!r} is not installed", hint=f"pip install 'symbio-lab[{extra}]'")


class NetworkUnavailableError(SymbioError):
    """A download was needed and no network answered."""

    code = "no_network"
    exit_code = 4
    hint = "set SYMBIO_LAB_DATA or HF_HOME to a local copy, or use the embedded scenario 'helpdesk'"


class StorageError(SymbioError):
    """Reading or writing the state folder failed; nothing half-written is left."""

    code = "storage"
    exit_code = 4
    hint = "free disk space or point SYMBIO_LAB_HOME elsewhere; the next run resumes"


class NotFoundError(SymbioError):
    """A patch, deployment or key with this id does not exist."""

    code = "not_found"
    hint = "list what exists first"


class NotebookFailedError(SymbioError):
    """A notebook stopped at an error, or its kernel died; what it had written is kept."""

    code = "notebook_failed"
    hint = "open the notebook that the run left to see where it stopped"


class KernelDiedError(NotebookFailedError):
    """The process that ran a notebook ended before the notebook did."""

    code = "kernel_died"


TRUST_CODES: dict[str, str] = {
    "unsigned": "the patch has no signed manifest; ask its publisher to sign it",
    "bad_envelope": "the manifest is not a well-formed DSSE envelope",
    "bad_signature": "the signature does not match the manifest; fetch the patch again or refuse it",
    "unknown_key": "the publisher's key is not enrolled; enrol it only if you know the publisher",
    "bad_key": "the public key is not a valid Ed25519 point; refuse it",
    "revoked_key": "the publisher's key was revoked; look for a newer version under another key",
    "bad_manifest": "the signed statement does not follow the schema",
    "duplicate_key": "the JSON has duplicate keys, which readers resolve differently; refuse it",
    "digest_mismatch": "a file is not the one that was signed; fetch the patch again",
    "size_mismatch": "a file has another size than signed; fetch the patch again",
    "missing_file": "a signed file is missing; fetch the patch again",
    "extra_file": "the folder holds a file that was not signed; remove it or refuse the patch",
    "unsafe_name": "a file name leaves the folder or uses forbidden characters; refuse it",
    "forbidden_file": "pickles, code and archives are never accepted; ask for safetensors",
    "too_large": "a file exceeds the size limit of the policy",
    "bad_tensors": "the safetensors header breaks the rules (size, names, shapes or types); refuse it",
    "bad_config": "adapter_config.json differs from the signed description; refuse it",
    "non_finite": "a weight is NaN, infinite or absurdly large; refuse it",
    "wrong_base": "the patch was made for another base model; search with this model's digest",
    "wrong_task": "the patch serves another task type",
    "expired": "the manifest has expired; look for a newer version",
    "rollback": "an older version than one already seen is offered; refuse it",
    "wrong_patch": "the manifest describes another patch than the one asked for",
    "level_too_low": "the policy asks for a higher trust level than this patch has",
    "licence": "the policy does not allow this licence",
    "leaky_evaluation": "a signed evaluation touches judging splits; it is refused",
    "threshold": "fewer distinct keys signed than the policy asks for; ask the publisher for more signatures",
    "name_taken": "the name belongs to another publisher's key; ask that publisher, or look for another name",
    "lookalike": "the name can be taken for one that you trust; check its spelling",
    "stale": "the market's metadata has expired: it may be frozen; ask who keeps the registry to renew it",
    "mix_and_match": "files and metadata belong to different states of the market; fetch again or refuse it",
    "unregistered": "the registry does not list this patch; ask who keeps the registry to add it",
    "bad_proof": "a proof or checkpoint of the log does not verify; refuse the market and tell others",
    "bad_response": "the server's answer breaks the rules for answers; do not use this endpoint",
    "disputed": "others could not repeat what the publisher claims; evaluate it yourself",
    "private_data": "what would be published holds texts of the failures; shorten it or let the policy allow it",
}
"""Stable refusal codes -> what to do next."""


class PluginError(SymbioError):
    """An installed plugin cannot be used."""

    code = "bad_plugin"
    hint = "update or uninstall the package named; it must follow the contract tests of symbio_lab.testing"


class TrustError(SymbioError):
    """A trust rule refuses a patch; nothing of it was deserialised."""

    exit_code = 3

    def __init__(self, code: str, message: str) -> None:
        if code not in TRUST_CODES:
            raise KeyError(f"unknown trust code {code!r}")
        super().__init__(message, hint=TRUST_CODES[code])
        self.code = code
