"""Somebody else's ``adapter_config.json``, read under a strict schema before anything acts on it.

Rules:
    1. Every key is on a list; an unknown key is refused, because it may change what the tensors mean.
    2. Module names are literal. A string is read as a regular expression by peft, so only ``all-linear`` and a literal
       full name pass; maps keyed by patterns must be empty.
    3. Rank and alpha are bounded before any memory is reserved for them.
    4. What plain LoRA cannot express is refused with the reason (DoRA, trained biases, changed base weights); what it
       can express is converted exactly: rank-stabilised LoRA differs by its scale only.
    5. All problems are named at once, under the code of the first.

Example:
    >>> config = read_foreign_config(b'{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"],'
    ...                              b' "use_rslora": true, "base_model_name_or_path": "org/base"}')
    >>> config.scale, config.targets
    (4.0, ('q_proj',))

References:
    Hu et al. (2021), "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1: W + (alpha / r) B A.
    Differs from the paper: nothing.
    Kalajdzievski (2023), "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", section 3: the factor is
    alpha / sqrt(r), so plain LoRA with alpha' = alpha sqrt(r) is the same function.
    Differs from the paper: nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from symbio_lab.errors import TrustError
from symbio_lab.trust.envelope import strict_json
from symbio_lab.trust.naming import check_module_names
from symbio_lab.trust.strict_fields import text

MAX_CONFIG_BYTES = 256 << 10
MAX_RANK = 256
MAX_ALPHA = 65_536.0
MAX_NAMES = 2048
MAX_SAVED = 64
"""Modules that may be saved whole."""
MAX_LAYER = 4095
ALL_LINEAR = "all-linear"

Task = Literal["SEQ_CLS", "CAUSAL_LM", "FEATURE_EXTRACTION"]
_MUST_BE_EMPTY = {
    "alora_invocation_tokens": "its update would apply to some tokens only",
    "alpha_pattern": "its keys are regular expressions; only one alpha for all modules is read",
    "arrow_config": "it routes between adapters",
    "auto_mapping": "it asks the reader to import a class by name",
    "corda_config": "it trains against changed base weights",
    "enable_lora": "it is a form of early releases that is not read",
    "ensure_weight_tying": "it ties weights of the base",
    "eva_config": "it makes ranks differ by module",
    "kasa_config": "it is not plain LoRA",
    "layer_replication": "it changes the layers of the base",
    "loftq_config": "it trains against quantised base weights",
    "lora_bias": "a patch carries no bias of its own",
    "lora_ga_config": "it trains against changed base weights",
    "megatron_config": "it is not plain LoRA",
    "merge_weights": "it is a form of early releases that is not read",
    "monteclora_config": "it is not plain LoRA",
    "rank_pattern": "its keys are regular expressions; only one rank for all modules is read",
    "target_parameters": "it changes parameters outside linear modules",
    "trainable_token_indices": "it changes the embeddings",
    "use_bdlora": "it is not plain LoRA",
    "use_dora": "DoRA rescales the columns of W + BA by their norms (Liu et al. 2024), which no low-rank update equals",
    "use_qalora": "it pools the inputs, which plain LoRA does not",
    "velora_config": "it is not plain LoRA",
}
"""Key -> why it is refused unless it is null, false or empty."""
_WITHOUT_EFFECT: dict[str, tuple[type, ...]] = {
    "fan_in_fan_out": (bool,),  # how the base stores a weight; A (r, in) and B (out, r) are the same either way
    "inference_mode": (bool,),
    "lora_dropout": (int, float),  # drops during training only
    "megatron_core": (str,),
    "peft_version": (str,),
    "qalora_group_size": (int,),
    "revision": (str,),
}
"""Key -> its types: what it says does not change predictions."""
_PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal")
"""Ways to initialise A and B that leave the base as it is; the others train against a residual of its weights."""
_READ = {"base_model_name_or_path", "bias", "exclude_modules", "init_lora_weights", "layers_pattern", "lora_alpha",
         "layers_to_transform", "modules_to_save", "peft_type", "r", "target_modules", "task_type",
         "use_rslora"}  # fmt: skip
_TASKS = (None, "SEQ_CLS", "CAUSAL_LM", "FEATURE_EXTRACTION")
_HINT = "a patch is plain LoRA on linear modules: ask the author for such an adapter, or train one"


@dataclass(frozen=True, slots=True)
class ForeignConfig:
    """What a stranger's config says, as far as it is believed."""

    base: str
    """Name of the base, as stated."""
    rank: int
    alpha: float
    """As stated."""
    scale: float
    """The factor before B A: alpha / r, or alpha / sqrt(r) where it is rank-stabilised."""
    targets: tuple[str, ...]
    """Literal module names, sorted; empty: all linear modules."""
    whole_names: bool
    """True: targets are full names; False: also the ends of names, after a dot."""
    excluded: tuple[str, ...]
    saved: tuple[str, ...]
    """Modules of which the file holds whole copies (``modules_to_save``)."""
    layers: tuple[int, ...]
    """Layer numbers that targets are limited to; empty: no limit."""
    layer_lists: tuple[str, ...]
    """Names of the module lists that ``layers`` counts, in their order; empty: the first numbered one in a name."""
    task: Task | None


def refuse_foreign(code: str, message: str, hint: str = _HINT) -> TrustError:
    """Return the refusal of a foreign adapter, with a hint for whoever wants to adopt it."""
    error = TrustError(code, message)
    error.hint = hint
    return error


def read_foreign_config(data: bytes, *, max_rank: int = MAX_RANK) -> ForeignConfig:
    """Return what somebody else's ``adapter_config.json`` says.

    Args:
        data: bytes of the file; nothing of it was believed before.
        max_rank: largest rank that the policy accepts.

    Raises:
        TrustError: ``duplicate_key``; ``too_large``: the file, the rank or alpha; ``wrong_task``; ``bad_config``:
            anything else, all problems named.

    >>> read_foreign_config(b'{"target_modules": "(([a-z])+)+[A-Z]"}')
    Traceback (most recent call last):
    ...
    symbio_lab.errors.TrustError: adapter_config.json: ...
    """
    if len(data) > MAX_CONFIG_BYTES:
        raise refuse_foreign("too_large", f"adapter_config.json has {len(data)} bytes, more than {MAX_CONFIG_BYTES}")
    value = strict_json(data, "bad_config", "adapter_config.json")
    if not isinstance(value, dict):
        raise refuse_foreign("bad_config", "adapter_config.json is not a JSON object")
    reading = _Reading(value)
    config = reading.config(max_rank)
    if reading.problems:
        listed = "; ".join(dict.fromkeys(problem for _, problem in reading.problems))
        raise refuse_foreign(reading.problems[0][0], f"adapter_config.json: {listed}"[:2000])
    return config


@dataclass(slots=True)
class _Reading:
    """One pass over a config that notes every problem instead of stopping at the first."""

    value: Mapping[str, Any]
    problems: list[tuple[str, str]] = field(default_factory=list)

    def config(self, max_rank: int) -> ForeignConfig:
        self._keys()
        rank, alpha = self._rank(max_rank), self._alpha()
        targets, whole_names = self._targets()
        layers = self._layers()
        if layers and (whole_names or not targets):
            self._note("layers_to_transform goes with a list of target_modules only")
        stable = self.value.get("use_rslora") or False
        if not isinstance(stable, bool):
            self._note("use_rslora is not true or false")
        task = self.value.get("task_type")
        if task not in _TASKS:
            self._note(f"task_type {task!r:.40} is not served here", "wrong_task")
        return ForeignConfig(
            base=self._base(),
            rank=rank,
            alpha=alpha,
            scale=alpha / (math.sqrt(rank) if stable is True else rank),
            targets=targets,
            whole_names=whole_names,
            excluded=self._names("exclude_modules"),
            saved=self._names("modules_to_save", MAX_SAVED),
            layers=layers,
            layer_lists=self._layer_lists(),
            task=cast("Task | None", task),
        )

    def _note(self, problem: str, code: str = "bad_config") -> None:
        self.problems.append((code, problem))

    def _keys(self) -> None:
        if (kind := self.value.get("peft_type")) != "LORA":
            self._note(f"peft_type {kind!r:.40} is not LORA")
        for key, stated in self.value.items():
            if key in _MUST_BE_EMPTY:
                if stated not in (None, False, {}, [], "") or (isinstance(stated, int) and stated is not False):
                    self._note(f"{key}: {_MUST_BE_EMPTY[key]}")
            elif key in _WITHOUT_EFFECT:
                allowed = _WITHOUT_EFFECT[key]
                is_number = bool not in allowed and isinstance(stated, bool)
                if stated is not None and (is_number or not isinstance(stated, allowed)):
                    self._note(f"{key} has another type than {' or '.join(t.__name__ for t in allowed)}")
            elif key not in _READ:
                self._note(f"unknown key {key!r:.60}")
        if (bias := self.value.get("bias", "none")) != "none":
            self._note(f"bias is {bias!r:.40}: it changes biases of the base, which a patch never does")
        start = self.value.get("init_lora_weights")
        # 1 == True: a number must not pass for a boolean.
        is_number = isinstance(start, int | float) and not isinstance(start, bool)
        if is_number or start not in _PLAIN_STARTS:
            self._note(f"init_lora_weights {start!r:.40} is not known to leave the weights of the base as they are")

    def _rank(self, max_rank: int) -> int:
        rank = self.value.get("r")
        if type(rank) is not int or rank < 1:
            self._note(f"r {rank!r:.40} is not a whole number of at least 1")
        elif rank > max_rank:
            self._note(f"r is {_shown(rank)}, more than {max_rank}", "too_large")
        else:
            return rank
        return 1

    def _alpha(self) -> float:
        alpha = self.value.get("lora_alpha")
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not alpha > 0 or alpha == math.inf:
            self._note(f"lora_alpha {_shown(alpha)} is not a finite number above 0")
        elif alpha > MAX_ALPHA:
            self._note(f"lora_alpha is {_shown(alpha)}, more than {MAX_ALPHA:g}", "too_large")
        else:
            return float(alpha)
        return 1.0

    def _base(self) -> str:
        base = self.value.get("base_model_name_or_path")
        try:
            if base:
                return text(base, "base_model_name_or_path", 400)
        except TrustError as error:
            self._note(str(error))
            return ""
        self._note("base_model_name_or_path does not name the base")
        return ""

    def _targets(self) -> tuple[tuple[str, ...], bool]:
        """Return the literal names, and whether each is a full name; no name stands for all linear modules."""
        stated = self.value.get("target_modules")
        if isinstance(stated, str):
            if stated.lower() == ALL_LINEAR:
                return (), False
            return self._literal("target_modules", [stated]), True
        if not isinstance(stated, list) or not stated:
            self._note("target_modules does not list the modules")
            return (), False
        return self._literal("target_modules", stated), False

    def _names(self, key: str, limit: int = MAX_NAMES) -> tuple[str, ...]:
        stated = self.value.get(key)
        if stated is None:
            return ()
        if not isinstance(stated, list):
            self._note(f"{key} is not a list of literal names")
            return ()
        return self._literal(key, stated, limit)

    def _literal(self, key: str, names: list[Any], limit: int = MAX_NAMES) -> tuple[str, ...]:
        if len(names) > limit:
            self._note(f"{key} has more than {limit} names")
            return ()
        try:
            return check_module_names(sorted(names) if all(isinstance(name, str) for name in names) else names)
        except TrustError as error:
            self._note(f"{key}: {error}")
            return ()

    def _layers(self) -> tuple[int, ...]:
        stated = self.value.get("layers_to_transform")
        numbers = [stated] if type(stated) is int else stated
        if numbers is None:
            return ()
        if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n <= MAX_LAYER for n in numbers):
            self._note(f"layers_to_transform is not a list of layer numbers up to {MAX_LAYER}")
            return ()
        return tuple(sorted(set(numbers)))

    def _layer_lists(self) -> tuple[str, ...]:
        stated = self.value.get("layers_pattern")
        if not stated:
            return ()
        if not isinstance(stated, str | list):
            self._note("layers_pattern is not a literal name")
            return ()
        names = [stated] if isinstance(stated, str) else stated
        if any("." in name for name in self._literal("layers_pattern", names)):
            self._note("layers_pattern: a name has more than one part")
        return tuple(names)  # in the order stated: the first that is part of a module's name counts


def _shown(value: object) -> str:
    """Return a number for a message; converting a very long one to text costs time."""
    if isinstance(value, int) and value.bit_length() > 64:
        return "a very large number"
    return f"{value!r:.40}"
