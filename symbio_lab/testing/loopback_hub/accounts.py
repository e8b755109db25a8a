"""Who may do what on the loopback Hub.

Rules:
    1. A bearer token names a user; an unknown token is refused, no token is an anonymous reader.
    2. A user writes to the own namespace and to organisations that the user belongs to; others may read public
       repositories, open discussions and pull requests.
    3. Tokens live in memory only: nothing below the Hub's folder holds one.

Example:
    >>> accounts = Accounts({"alice": "hf_alice", "bob": "hf_bob"}, {"lab": ["alice"]})
    >>> accounts.may_write("alice", "lab"), accounts.may_write("bob", "lab"), accounts.may_write(None, "lab")
    (True, False, False)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from symbio_lab.errors import ConfigError
from symbio_lab.testing.loopback_hub.answers import HubAnswer, HubRequest, HubRoute, Refusal, json_answer
from symbio_lab.testing.loopback_hub.names import check_repository_name
from symbio_lab.testing.loopback_hub.state import HubState


class Accounts:
    """Users with their tokens, and organisations with their members."""

    def __init__(self, users: Mapping[str, str], orgs: Mapping[str, Iterable[str]] | None = None) -> None:
        self._users = dict(users)
        self._orgs = {name: tuple(members) for name, members in (orgs or {}).items()}
        self._check()

    def user_of(self, token: str) -> str | None:
        """Return whom a token names."""
        return next((user for user, own in self._users.items() if own == token), None)

    def exists(self, namespace: str) -> bool:
        """Return whether there is such a user or organisation."""
        return namespace in self._users or namespace in self._orgs

    def orgs_of(self, user: str) -> list[str]:
        """Return the organisations that a user belongs to."""
        return sorted(name for name, members in self._orgs.items() if user in members)

    def is_org(self, namespace: str) -> bool:
        """Return whether this is an organisation."""
        return namespace in self._orgs

    def may_write(self, user: str | None, namespace: str) -> bool:
        """Return whether a user may write to what this namespace owns."""
        return user is not None and (user == namespace or user in self._orgs.get(namespace, ()))

    def add(self, user: str, token: str) -> None:
        """Register a user, also under a name that somebody else had and gave up.

        Raises:
            ConfigError: the name or the token is taken or malformed.
        """
        if self.exists(user):
            raise ConfigError([f"the name {user!r} is taken"])
        before = dict(self._users)
        self._users[user] = token
        try:
            self._check()
        except ConfigError:
            self._users = before
            raise

    def remove(self, user: str) -> None:
        """Forget a user, whose name is free then."""
        self._users.pop(user, None)
        self._orgs = {name: tuple(m for m in members if m != user) for name, members in self._orgs.items()}

    def _check(self) -> None:
        problems = [f"{name!r} is a user and an organisation" for name in sorted(set(self._users) & set(self._orgs))]
        for name in [*self._users, *self._orgs]:
            try:
                check_repository_name(name, "name")
            except Refusal as refusal:
                problems.append(refusal.message)
        tokens = list(self._users.values())
        problems += [f"the token of {user!r} is shared" for user, t in self._users.items() if tokens.count(t) > 1]
        problems += [
            f"the token of {user!r} must be printable, without spaces"
            for user, token in self._users.items()
            if not token or not token.isascii() or not token.isprintable() or " " in token
        ]
        unknown = {member for members in self._orgs.values() for member in members} - set(self._users)
        problems += [f"the member {member!r} of an organisation is no user" for member in sorted(unknown)]
        if problems:
            raise ConfigError(problems)


def need_user(request: HubRequest) -> str:
    """Return who asks.

    Raises:
        Refusal: 401: nobody in particular.
    """
    if request.user is None:
        raise Refusal(401, message="Invalid username or password.")
    return request.user


def whoami(hub: HubState, request: HubRequest) -> HubAnswer:
    """Answer ``HfApi.whoami``."""
    user = need_user(request)
    orgs = [
        {"type": "org", "id": name, "name": name, "fullname": name, "roleInOrg": "write", "isEnterprise": False}
        for name in hub.accounts.orgs_of(user)
    ]
    token = {"displayName": "loopback", "role": "write", "createdAt": hub.now()}
    return json_answer(
        {
            "type": "user",
            "id": user,
            "name": user,
            "fullname": user,
            "email": None,
            "emailVerified": False,
            "isPro": False,
            "canPay": False,
            "periodEnd": None,
            "avatarUrl": "",
            "orgs": orgs,
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def user_overview(hub: HubState, request: HubRequest) -> HubAnswer:
    """Answer ``HfApi.get_user_overview``."""
    name = request.captured["name"]
    if not hub.accounts.exists(name) or hub.accounts.is_org(name):
        raise Refusal(404, message="This user does not exist")
    num_models = sum(r.namespace == name and r.kind == "model" and not r.private for r in hub.repositories)
    return json_answer({"user": name, "fullname": name, "avatarUrl": "", "isPro": False, "numModels": num_models})


def org_overview(hub: HubState, request: HubRequest) -> HubAnswer:
    """Answer ``HfApi.get_organization_overview``."""
    name = request.captured["name"]
    if not hub.accounts.is_org(name):
        raise Refusal(404, message="This organization does not exist")
    num_models = sum(r.namespace == name and r.kind == "model" and not r.private for r in hub.repositories)
    return json_answer({"name": name, "fullname": name, "avatarUrl": "", "numModels": num_models})


ROUTES = (
    HubRoute("GET", "api/whoami-v2", whoami),
    HubRoute("GET", "api/users/{name}/overview", user_overview),
    HubRoute("GET", "api/organizations/{name}/overview", org_overview),
)
