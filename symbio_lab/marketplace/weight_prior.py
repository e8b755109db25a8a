"""What the weights themselves say about a whole pool: one backward pass over the failures, no patch applied.

Three signals for every patch whose tensors are on this machine:
    - ``delta_gain``: by how much its low-rank updates would lower the loss on the failures, to first order. The
      gradient of the loss by every adapted module's weights, G (out, in), comes from **one** backward pass for the
      whole pool; then the gain is -scale * sum over modules of trace(G^T B A) = -scale * sum((B^T G) * A), and B A is
      never formed.
    - ``row_gain``: by how much its head rows lower the loss on the base's own features, exactly; no pass at all.
    - ``alignment``: whether it changes what the failures excite: the cosine of each module's inputs with the input
      direction that the update answers to most (root mean square over tokens, mean over modules).

Rules:
    1. This only orders; the gate decides. A large step along the gradient need not help, and patches that were trained
       on other failures may answer to the same directions: see the lab log for how well it orders.
    2. Failures come from ``repair`` only: never from what selects or judges.
    3. The base is not touched: gradients are those of a zero that is added to each module's output.
    4. Where a label is new to the base, the backward pass goes against a reference row: the mean feature of the label's
       failures at the length of the base's rows. A label that has no row at all has the lowest score of all rows.

References:
    First-order gain: the linear term of the loss in the update, as in Ilharco et al. (2023), "Editing Models with Task
    Arithmetic", arXiv 2212.04089, and Pruthi et al. (2020), "Estimating Training Data Influence by Tracing Gradient
    Descent", section 3 (gradient times step). Differs from the papers: the step is a finished patch of somebody else.
    Alignment: Ostapenko et al. (2024), "Towards Modular LLMs by Building and Reusing a Library of LoRAs", arXiv
    2405.11157, section 3 (Arrow). Differs from the paper: root mean square of cosines, not the absolute product;
    averaged over a set of failures to order patches, not a softmax for each token.
    Reference rows: Qi, Brown and Lowe (2018), "Low-Shot Learning with Imprinted Weights", section 3.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from symbio_lab.errors import EmptySliceError, ModelError, NotFoundError, StorageError, TrustError
from symbio_lab.marketplace.failure_gradient import FailureGradient, failure_gradient
from symbio_lab.records import Patch, Sample, TaskType
from symbio_lab.trust.stored import open_stored

if TYPE_CHECKING:
    from symbio_lab.models.adapters import LoadedAdapter
    from symbio_lab.models.protocol import PatchableModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WeightSignal:
    """What the weights say about one patch."""

    digest: str
    """Payload digest of the patch."""
    ref: str
    delta_gain: float
    """First-order fall of the mean loss on the failures, in nats; negative when the update points the other way."""
    row_gain: float
    """Fall of the mean loss by its head rows on the base's features, in nats; 0 without rows."""
    alignment: float
    """Root mean square cosine of inputs and update directions, in [0, 1]; 0 without updates."""

    @property
    def gain(self) -> float:
        """Both gains together."""
        return self.delta_gain + self.row_gain


def weight_signals(
    model: PatchableModel, repair: Sequence[Sample], patches: Sequence[Patch], *, batch_size: int = 32
) -> tuple[WeightSignal, ...]:
    """Return the signals of every patch that fits the model, in the order given.

    Costs about three forwards for each failure, however many patches there are, and reading each patch once.

    Args:
        model: the failing base.
        repair: failures with their gold answers, from the repair split.
        patches: verified patches; one that does not fit is left out and logged.
        batch_size: failures in one pass.

    Raises:
        EmptySliceError: there are no failures.
        TrustError: a patch changed on disk since it was verified.
    """
    from symbio_lab.models.adapters import check_fits, check_serves, load_adapter

    if not repair:
        raise EmptySliceError("the weights cannot be judged without failures")
    fitting: list[Patch] = []
    for patch in patches:
        try:
            check_serves(patch, task_type=model.task_type, base_digest=model.digest)
            check_fits(model.module, load_adapter(patch), patch.patch_id)
        except ModelError as error:
            logger.info("no prior for %s: %s", patch.patch_id, error.code)
            continue
        fitting.append(patch)
    modules = sorted({module for patch in fitting for module in patch.manifest.adapter.target_modules})
    gradient = failure_gradient(model, repair, modules, batch_size=batch_size)
    found = []
    for patch in fitting:
        adapter = load_adapter(patch)
        found.append(
            WeightSignal(
                patch.digest,
                patch.patch_id,
                first_order_gain(gradient, adapter),
                gradient.row_gain(adapter),
                alignment(gradient, adapter),
            )
        )
    return tuple(found)


def first_order_gain(gradient: FailureGradient, adapter: LoadedAdapter) -> float:
    """Return -<G, scale * B A> summed over the adapter's modules: the fall of the loss to first order, in nats."""
    total = 0.0
    for module, (a, b) in adapter.deltas.items():
        total += float(((b.double().T @ gradient.by_weight[module]) * a.double()).sum())
    return -adapter.scale * total


def alignment(gradient: FailureGradient, adapter: LoadedAdapter) -> float:
    """Return the root mean square cosine of the failures' inputs with each update's first right singular vector."""
    import torch

    values = []
    for module, (a, b) in adapter.deltas.items():
        # B = Q R, so B A and the small R A have the same right singular vectors.
        small = torch.linalg.qr(b.double()).R @ a.double()
        first = torch.linalg.svd(small, full_matrices=False).Vh[0]
        values.append(float((first @ gradient.input_moment[module] @ first).clamp_min(0).sqrt()))
    return sum(values) / len(values) if values else 0.0


def prior_of(signals: Sequence[WeightSignal]) -> Mapping[str, float]:
    """Return payload digest -> gain: what ``Catalogue.search`` takes as ``prior``."""
    return {signal.digest: signal.gain for signal in signals}


def stored_patches(store: Path, *, base_digest: str, task_type: TaskType) -> Iterator[Patch]:
    """Yield the patches of a store that were made for this base and task; damaged ones are left out and logged.

    Args:
        store: folder of verified patches, such as ``settings.patches``.
        base_digest: digest of the base, 64 hex.
        task_type: of the failures.
    """
    for folder in sorted(path for path in store.glob("*") if len(path.name) == 64 and path.is_dir()):
        try:
            patch = open_stored(store, folder.name)
        except (TrustError, NotFoundError, StorageError) as error:
            logger.warning("left out a stored patch: %s", error)
            continue
        if patch.manifest.base_digest == base_digest and patch.manifest.task_type == task_type:
            yield patch
