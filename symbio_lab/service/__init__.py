"""The service: a REST API over the same library functions as notebook and command line; many tenants, one store.

Files, in reading order:
    - ``app.py``: the factory; ``state.py``: what every route works with; ``settings.py``: limits.
    - ``callers.py``: who calls, as which tenant, with which scopes; ``problems.py``: errors as problem+json.
    - ``schemas/``: what goes in and out; ``routes/``: one file a resource.
    - ``predicting.py``: one answer; ``residents.py``: loaded bases and patches; ``answering.py``: a base's queue, in
      which tenants are mixed; ``candidates.py``: shadows and canaries beside what is live.
    - ``quotas.py``: what a tenant may use; ``fencing.py``: a ledger for whoever still has the job.
    - ``markets.py``, ``reaching.py``: a tenant's markets, those that answer.
    - ``healing_request.py``: from reports to an incident.
    - ``worker.py``: the process that carries out jobs.
    - ``bodies.py``, ``requests.py``, ``measuring.py``: limits, ids and figures of every request.
"""
