"""What healing may cost, and a meter that refuses work before it is done.

Rules:
    1. The binding unit is the forward-equivalent: 1.0 is one sample through the unpatched base once. It is counted,
       not timed, so that the same run costs the same on every machine.
    2. A charge that would exceed the budget raises before the work, and nothing is charged.
    3. Wall time only aborts a run (``check_wall``); it never steers one.
    4. Time belongs to the innermost phase: phases never count a second twice.

Example:
    >>> meter = CostMeter(Budget(forwards_equivalent=100))
    >>> with meter.phase("screen"):
    ...     meter.charge_forwards(80)
    >>> meter.remaining()
    20.0
    >>> meter.would_fit(30)
    False
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from symbio_lab.errors import BudgetExceededError, ConfigError, DataError, HealingCancelledError, HealingTimeoutError
from symbio_lab.events import Listener, PhaseFinished, PhaseStarted, emit
from symbio_lab.records import Cost, PhaseCost

LORA_STEP_FORWARDS = 2.26
"""Forwards-equivalent of one LoRA training step a sample, gradients through all layers. Measured on the CPU on a
22.7M-parameter BERT encoder of six layers; the arithmetic estimate is 2 (4PT against 2PT for a forward)."""
LORA_TOP_TWO_STEP_FORWARDS = 1.56
"""The same with LoRA on the top two of the six layers only."""
FULL_STEP_FORWARDS = 4.41
"""The same for full fine-tuning (estimate: 3)."""
_MEASURED_TOP_SHARE = 2 / 6
_BACKWARD_FORWARDS = (LORA_STEP_FORWARDS - LORA_TOP_TWO_STEP_FORWARDS) / (1.0 - _MEASURED_TOP_SHARE)
_STEP_OVERHEAD_FORWARDS = LORA_STEP_FORWARDS - 1.0 - _BACKWARD_FORWARDS
_OUTSIDE = "other"
"""Phase that takes what is charged outside any phase."""
_SLACK = 1e-9
"""Relative slack for the rounding of sums of fractions."""


def lora_step_cost(num_layers: int, first_trained_layer: int, cached_prefix: bool = False) -> float:
    """Return the forwards-equivalent of one LoRA training step for one sample.

    A step is a forward, a backward through the layers from the first trained one upwards, and a fixed overhead
    (loss, head, optimiser). The two parts are the line through the two measured points: 2.26 with all layers and
    1.56 with the top two of six.

    Args:
        num_layers: layers of the encoder or decoder, at least 1.
        first_trained_layer: lowest layer with an adapter, from 0 to ``num_layers`` (the latter: head only).
        cached_prefix: whether the activations below that layer are cached, so that the forward starts there.
            Filling the cache is charged by its maker: ``first_trained_layer / num_layers`` forwards a sample, once.

    Returns:
        Forwards-equivalent, above 0.

    Raises:
        DataError: the layer numbers do not fit together.

    >>> round(lora_step_cost(6, 0), 2), round(lora_step_cost(6, 4), 2), round(lora_step_cost(6, 4, True), 2)
    (2.26, 1.56, 0.89)
    """
    if num_layers < 1 or not 0 <= first_trained_layer <= num_layers:
        raise DataError(f"first trained layer {first_trained_layer} does not fit a model of {num_layers} layer(s)")
    share = (num_layers - first_trained_layer) / num_layers
    forward = share if cached_prefix else 1.0
    return forward + _BACKWARD_FORWARDS * share + _STEP_OVERHEAD_FORWARDS


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one healing run, equal for every arm of a comparison."""

    forwards_equivalent: float = 60_000.0
    """Binding limit, gate included; 0 or more."""
    wall_s: float | None = None
    """Abort after this many seconds; None never aborts."""

    def __post_init__(self) -> None:
        """Refuse limits that mean nothing."""
        problems = []
        if not (math.isfinite(self.forwards_equivalent) and self.forwards_equivalent >= 0):
            problems.append(f"budget forwards_equivalent must be 0 or more and finite, not {self.forwards_equivalent}")
        if self.wall_s is not None and not (math.isfinite(self.wall_s) and self.wall_s > 0):
            problems.append(f"budget wall_s must be above 0 and finite, not {self.wall_s}")
        if problems:
            raise ConfigError(problems)


class CostMeter:
    """Counts what one run costs by phase and holds it to its budget; one meter serves one run in one thread."""

    def __init__(
        self,
        budget: Budget,
        listener: Listener | None = None,
        *,
        num_parameters: int = 0,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.process_time,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        """Start the wall clock.

        Args:
            budget: the limits.
            listener: told when phases start and finish.
            num_parameters: parameters of the base; with it, ``num_tokens`` is turned into FLOPs.
            clock: wall clock, in seconds.
            cpu_clock: CPU time of the process over all its threads, in seconds.
            should_stop: asked before every charge; True ends the run.
        """
        self.budget = budget
        self._listener = listener
        self._num_parameters = num_parameters
        self._should_stop = should_stop
        self._clock, self._cpu_clock = clock, cpu_clock
        self._started = clock()
        self._since = (self._started, cpu_clock())
        self._stack: list[str] = []
        self._phases: dict[str, PhaseCost] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Account the block to phase ``name``; a phase that is entered again goes on counting."""
        self._bank_time()
        self._stack.append(name)
        before = self._phases.setdefault(name, PhaseCost())
        emit(self._listener, PhaseStarted(name))
        try:
            yield
        finally:
            self._bank_time()
            self._stack.pop()
            after = self._phases[name]
            wall_s = after.wall_s - before.wall_s
            forwards = after.forwards_equivalent - before.forwards_equivalent
            emit(self._listener, PhaseFinished(name, wall_s, forwards))

    def charge_forwards(
        self, num_samples: float, *, num_tokens: int = 0, flops: float | None = None, weight: float = 1.0
    ) -> None:
        """Charge ``num_samples * weight`` forwards-equivalent; call it before the work.

        Args:
            num_samples: samples that will run, 0 or more.
            num_tokens: tokens that will run; gives FLOPs as 2 * parameters * tokens * weight.
            flops: floating-point operations, where they are known better than by that estimate.
            weight: forwards-equivalent of one sample, 0 or more; 1.0 is a forward, ``lora_step_cost`` a step.

        Raises:
            BudgetExceededError: the charge does not fit; nothing was charged.
            DataError: a negative or undefined amount.
            HealingCancelledError: ``should_stop`` said so; nothing was charged.
        """
        self._check_stop()
        amount = num_samples * weight
        if not (math.isfinite(amount) and num_samples >= 0 and weight >= 0):
            raise DataError(f"cannot charge {num_samples} sample(s) at a weight of {weight}")
        if not self.would_fit(amount):
            raise BudgetExceededError(
                f"{amount:,.0f} forwards-equivalent are needed, {self.remaining():,.0f} remain "
                f"of {self.budget.forwards_equivalent:,.0f}"
            )
        if flops is None:
            flops = 2.0 * self._num_parameters * num_tokens * weight
        self._add(forwards_equivalent=amount, flops=flops)

    def charge_bytes(self, num_bytes: int) -> None:
        """Count bytes read from or written to a market; they are reported, not limited.

        Raises:
            DataError: a negative number.
        """
        if num_bytes < 0:
            raise DataError(f"cannot charge {num_bytes} bytes")
        self._add(num_bytes=num_bytes)

    def check_wall(self) -> None:
        """Abort the run when its wall-clock limit has passed, or when it was cancelled.

        Raises:
            HealingTimeoutError: more than ``budget.wall_s`` seconds have passed since the meter was made.
            HealingCancelledError: ``should_stop`` said so.
        """
        self._check_stop()
        limit, elapsed = self.budget.wall_s, self.elapsed_s()
        if limit is not None and elapsed > limit:
            raise HealingTimeoutError(f"{elapsed:.1f} s have passed, the limit is {limit:g} s")

    def _check_stop(self) -> None:
        if self._should_stop is not None and self._should_stop():
            raise HealingCancelledError("the run was cancelled")

    def elapsed_s(self) -> float:
        """Return the seconds since the meter was made."""
        return self._clock() - self._started

    def spent(self) -> float:
        """Return the forwards-equivalent charged so far."""
        return math.fsum(cost.forwards_equivalent for cost in self._phases.values())

    def remaining(self) -> float:
        """Return the forwards-equivalent left, 0 or more."""
        return max(0.0, self.budget.forwards_equivalent - self.spent())

    def would_fit(self, amount: float) -> bool:
        """Return whether ``amount`` forwards-equivalent could be charged now."""
        return amount <= self.remaining() + _SLACK * self.budget.forwards_equivalent

    def cost(self) -> Cost:
        """Return the cost so far by phase, in the order in which phases were first entered."""
        self._bank_time()
        return Cost(tuple(self._phases.items()))

    def _add(self, **amounts: float) -> None:
        name = self._stack[-1] if self._stack else _OUTSIDE
        old = self._phases.get(name, PhaseCost())
        self._phases[name] = replace(old, **{key: getattr(old, key) + value for key, value in amounts.items()})

    def _bank_time(self) -> None:
        """Give the time since the last change of phase to the innermost open phase, if there is one."""
        now = (self._clock(), self._cpu_clock())
        if self._stack:
            self._add(wall_s=now[0] - self._since[0], cpu_s=now[1] - self._since[1])
        self._since = now
