"""The modules of a base that a foreign config means, found without a regular expression.

Rules:
    1. A target is a full name, or the end of one after a dot; ``all-linear`` is every linear module but the output.
    2. Excluded modules, and modules of which the file holds whole copies, are never adapted as well.
    3. Layer numbers limit targets that are ends of names, not full names.

The result is what peft resolves from the same literal names; what the file holds is compared with it, so that a config
and its tensors cannot tell two stories.

Example:
    >>> layer_of("model.layers.3.mlp.experts.0.up"), layer_of("h.3.attn"), layer_of("h.3.attn", ("h",))
    (3, None, 3)
"""

from __future__ import annotations

from collections.abc import Collection

from symbio_lab.trust.foreign_config import ForeignConfig

SEQ_CLS_HEADS = ("score", "classifier")
"""Names of the head that peft leaves out of ``all-linear``, in the order in which it looks for them."""


def targeted_modules(
    config: ForeignConfig, modules: Collection[str], linear: Collection[str], outputs: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the full names of the modules that a config targets in a base, sorted.

    Args:
        config: checked config.
        modules: names of all modules of the base.
        linear: names of its linear modules.
        outputs: output embeddings, which ``all-linear`` leaves out.
    """
    excluded, saved = tuple(f".{name}" for name in config.excluded), tuple(f".{name}." for name in config.saved)
    allowed = [name for name in modules if not _is_left_out(name, excluded, saved)]
    if not config.targets:
        heads = [head for head in SEQ_CLS_HEADS if head in modules][:1] if config.task == "SEQ_CLS" else []
        return tuple(sorted(set(allowed) & set(linear) - set(outputs) - set(heads)))
    full, ends = frozenset(config.targets), tuple(f".{target}" for target in config.targets)
    return tuple(sorted(name for name in allowed if name in full or _ends_right(name, ends, config)))


def layer_of(name: str, lists: tuple[str, ...] = ()) -> int | None:
    """Return the layer number in a module's name, or None.

    Args:
        name: full name of a module.
        lists: names of the module lists that count, the first that is part of the name decides; empty: the first
            numbered list, which a name cannot begin with.
    """
    parts = name.split(".")
    for wanted in lists or (None,):
        for i in range(1 if wanted else 2, len(parts) - 1):
            if parts[i].isdecimal() and wanted in (None, parts[i - 1]):
                return int(parts[i])
    return None


def _ends_right(name: str, ends: tuple[str, ...], config: ForeignConfig) -> bool:
    if config.whole_names or not name.endswith(ends):
        return False
    return not config.layers or layer_of(name, config.layer_lists) in config.layers


def _is_left_out(name: str, excluded: tuple[str, ...], saved: tuple[str, ...]) -> bool:
    return f".{name}".endswith(excluded) or any(part in f".{name}." for part in saved)
