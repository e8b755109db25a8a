"""A base becomes known under an id: its files are found and digested once; loading it waits for the first use."""

from __future__ import annotations

from symbio_lab.errors import ConfigError
from symbio_lab.marketplace.contribution.licence_terms import LICENCES, unknown_licences
from symbio_lab.models.loading import load_model
from symbio_lab.models.model_card import card_licence
from symbio_lab.service.state import ServiceState
from symbio_lab.store.api_keys import OPERATOR
from symbio_lab.store.registered_models import RegisteredModel


def register_model(
    state: ServiceState,
    model_id: str,
    source: str,
    *,
    owner: str = OPERATOR,
    revision: str | None = None,
    task_type: str | None = None,
    licence: str | None = None,
) -> RegisteredModel:
    """Register a base and return the registration.

    Args:
        state: of the service.
        model_id: what it is called by.
        source: folder, or Hub id.
        owner: tenant; ``OPERATOR`` for everybody.
        revision: Hub revision.
        task_type: of the model, where the caller insists.
        licence: SPDX expression of the base; None takes what its card states, if there is one.

    Raises:
        ConfigError: the id names another base or is empty, or a licence was given that the lab does not know.
        ModelUnresolvedError: the source cannot be loaded.
        WrongTaskError: it is of neither task, or not of ``task_type``.
        NetworkUnavailableError: it must be downloaded and no network answers.
    """
    if not model_id.strip():
        raise ConfigError(["a model id must not be empty"])
    if licence is not None and (unknown := unknown_licences(licence)):
        raise ConfigError(
            [f"no licence that is known here: {', '.join(unknown):.200}"],
            hint=f"state an SPDX expression of: {', '.join(sorted(LICENCES))}",
        )
    model = load_model(
        source, task=task_type, revision=revision, device=state.settings.device, dtype=state.settings.dtype
    )
    licence = licence or card_licence(source, revision=revision)
    return state.models.register(
        RegisteredModel(owner, model_id, source, revision, model.task_type, model.digest, state.now(), licence)
    )
