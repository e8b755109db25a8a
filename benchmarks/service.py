"""The service under load on the loopback interface, and its mixed batches against peft's loop over tenants.

1. Mixed batches, in this process: the same texts, shared out among 1, 8 and 32 tenants with a patch each, answered in
   one batch; by peft, ``set_adapter`` and one forward for each tenant, all adapters loaded beforehand; and by the base
   alone. The labels are compared before anything is timed. Repetitions are interleaved; medians of wall and CPU
   seconds. Aims: at least twice peft's throughput with 32 tenants; at most half again the base's time with 8.
2. A server process (``symbio serve``) and clients in threads of this one, on the same cores: failure reports, one and
   500 a request; searches; predictions of 32 clients with 0, 1, 8 and 32 patches among them; hot swaps: from asking
   for another patch to the first answer by it, while others ask and none fails.
3. ``--soak MINUTES``: predictions, reports and searches for so long; the server's resident memory is looked at
   every few seconds, and the slope of its later two thirds is printed. It should be flat.

Run: ``python benchmarks/service.py`` (``--quick`` in half a minute, ``--soak 30``, ``--out FILE`` for the figures).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from service_place import MODEL, Client, Place, Server, build_place, in_parallel, serving

from symbio_lab.codec import write_json
from symbio_lab.models.kept_adapters import fitted_adapter
from symbio_lab.models.loading import use_threads
from symbio_lab.models.mixed_batch import Slot, predict_slots

TENANTS = 32
COUNTS = (1, 8, 32)
AIM_RATIO, AIM_OVERHEAD = 2.0, 1.5
LABEL = "bench"


def peft_tenants(place: Place) -> Callable[[list[list[str]]], list[str]]:
    """Return a function that answers each tenant's texts by its own adapter, one tenant after the other."""
    from peft import PeftModel

    model = place.model
    wrapped = PeftModel.from_pretrained(model.training_copy().module, place.patches[0].root, adapter_name="p0")
    for number, patch in enumerate(place.patches[1:], start=1):
        wrapped.load_adapter(patch.root, adapter_name=f"p{number}")
    wrapped.eval()

    @torch.inference_mode()
    def run(texts: list[list[str]]) -> list[str]:
        outputs: list[str] = []
        for number, mine in enumerate(texts):
            wrapped.set_adapter(f"p{number}")
            order = sorted(range(len(mine)), key=lambda i: len(mine[i]))
            names = [""] * len(mine)
            for start in range(0, len(order), 32):
                batch = order[start : start + 32]
                ids, mask = model.pad(model.encode([mine[i] for i in batch]))
                for i, label in zip(
                    batch, wrapped(input_ids=ids, attention_mask=mask).argmax(dim=1).tolist(), strict=True
                ):
                    names[i] = model.labels[label]
            outputs += names
        return outputs

    return run


def mixed_batches(place: Place, num_texts: int, counts: tuple[int, ...], repeats: int) -> list[dict[str, Any]]:
    """Return one row for each number of tenants that share the same texts."""
    model, texts = place.model, [place.texts[i % len(place.texts)] for i in range(num_texts)]
    slots = [Slot(patch.patch_id, fitted_adapter(model, patch)) for patch in place.patches]
    peft = peft_tenants(place)
    rows = []
    for count in counts:
        share = num_texts // count
        by_tenant = [texts[n * share : (n + 1) * share] for n in range(count)]
        slot_of = [n for n in range(count) for _ in range(share)]
        runs: dict[str, Callable[[], Any]] = {
            "base": lambda: predict_slots(model, texts, [Slot("base", None)], [0] * num_texts),
            "mixed": lambda s=slot_of: predict_slots(model, texts, slots, s),
            "peft": lambda b=by_tenant: peft(b),
        }
        ours = runs["mixed"]()
        same = float(np.mean([a == b for a, b in zip(ours.outputs, runs["peft"](), strict=True)]))
        alone = [
            predict_slots(model, [texts[i]], slots, [slot_of[i]]).confidences[0] for i in range(min(num_texts, 32))
        ]
        same_bits = float(np.mean([a == b for a, b in zip(alone, ours.confidences, strict=False)]))
        runs["base"]()
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for _ in range(repeats):
            for name, run in runs.items():
                wall, cpu = time.perf_counter(), time.process_time()
                run()
                spent[name].append((time.perf_counter() - wall, time.process_time() - cpu))
        wall_s = {name: statistics.median(w for w, _ in values) for name, values in spent.items()}
        cpu_s = {name: statistics.median(c for _, c in values) for name, values in spent.items()}
        rows.append(
            {
                "tenants": count,
                "texts": num_texts,
                "same_labels": same,
                "same_bits_as_alone": same_bits,
                **{f"{name}_texts_s": num_texts / wall_s[name] for name in runs},
                "peft_ratio": wall_s["peft"] / wall_s["mixed"],
                "peft_ratio_cpu": cpu_s["peft"] / cpu_s["mixed"],
                "base_overhead": wall_s["mixed"] / wall_s["base"],
                "base_overhead_cpu": cpu_s["mixed"] / cpu_s["base"],
            }
        )
    return rows


def failure(number: int) -> dict[str, str]:
    """Return one failure report; no two are the same."""
    return {
        "model_id": MODEL,
        "task_type": "text_classification",
        "domain": "bench",
        "error_type": "wrong_label",
        "input_sample": f"please change my order number {number} to next week",
        "expected_output": "change_order",
        "actual_output": "cancel_order",
        "severity": "high",
    }


def reports(place: Place, server: Server, seconds: float) -> dict[str, float]:
    """Return stored reports a second: one request at a time, eight at once, 500 in a request."""
    made = iter(range(1 << 40))
    clients = [Client(server, place.tokens[f"plain-{n}"]) for n in range(8)]

    def one(client: Client, _number: int, _turn: int) -> int:
        return int(client.expect("POST", "/failures/report", failure(next(made)))["stored"])

    def many(client: Client, _number: int, _turn: int) -> int:
        body = {"failures": [failure(next(made)) for _ in range(500)]}
        return int(client.expect("POST", "/failures/report/batch", body)["num_stored"])

    found = {}
    for name, some, call in (
        ("single", clients[:1], one),
        ("single_8_clients", clients, one),
        ("batch_500", clients[:2], many),
    ):
        num, spent_s = in_parallel(some, seconds, call)
        found[f"{name}_s"] = num / spent_s
    return found


def searches(place: Place, server: Server, num: int) -> dict[str, float]:
    """Return percentiles of the time of a search, in milliseconds; the first one reads the market and is apart."""
    client, rng = Client(server, place.tokens["plain-0"]), random.Random(0)
    asked = [rng.choice(place.texts) for _ in range(num + 1)]
    spent = []
    for query in asked:
        begun = time.perf_counter()
        body = {"query": query, "model_id": MODEL, "task_type": "text_classification", "max_results": 5}
        client.expect("POST", "/marketplace/search", body)
        spent.append(1000 * (time.perf_counter() - begun))
    p50, p95 = np.percentile(spent[1:], [50, 95])
    return {"first_ms": spent[0], "p50_ms": float(p50), "p95_ms": float(p95), "num": num}


def ask(place: Place) -> Callable[[Client, int, int], int]:
    """Return a call that asks for the label of one text."""

    def call(client: Client, number: int, turn: int) -> int:
        text = place.texts[(number * 131 + turn) % len(place.texts)]
        return len(client.expect("POST", "/predict", {"model_id": MODEL, "inputs": [text]})["outputs"])

    return call


def predictions(place: Place, server: Server, seconds: float, num_clients: int) -> dict[str, float]:
    """Return answered texts a second, one text a request, with 0 (the base), 1, 8 and 32 patches among the clients."""
    found = {}
    for count in (0, *COUNTS):
        names = [f"patched-{n % count}" if count else f"plain-{n}" for n in range(num_clients)]
        clients = [Client(server, place.tokens[name]) for name in names]
        in_parallel(clients, min(seconds, 1.0) / 2, ask(place))
        num, spent_s = in_parallel(clients, seconds, ask(place))
        found[f"patches_{count}_texts_s"] = num / spent_s
    return found


def swaps(place: Place, server: Server, num: int) -> dict[str, float]:
    """Return the time from asking for another live patch to the first answer by it, while four tenants ask."""
    others = [Client(server, place.tokens[f"patched-{n}"]) for n in range(1, 5)]
    stop = threading.Event()
    asked: list[int] = []

    def keep_asking() -> None:
        def call(client: Client, number: int, turn: int) -> int:
            return 0 if stop.is_set() else ask(place)(client, number, turn)

        while not stop.is_set():
            asked.append(in_parallel(others, 0.5, call)[0])

    thread = threading.Thread(target=keep_asking)
    thread.start()
    client, spent, deploy_ms = Client(server, place.tokens["patched-0"]), [], []
    before = client.expect("GET", f"/deployments?model_id={MODEL}")["deployments"]
    try:
        # Two patches take turns; the second one is accepted here as healing would.
        line = place.state.ledger.current("patched-0", MODEL)
        assert line is not None
        other = place.patches[1]
        place.state.ledger.append(
            type(line)(
                "patched-0", MODEL, line.base_digest, other.digest, other.patch_id, "shadow", None, line.created_at
            )
        )
        for turn in range(num):
            digest = (other if turn % 2 == 0 else place.patches[0]).digest
            begun = time.perf_counter()
            client.expect("POST", "/deployments", {"model_id": MODEL, "patch_digest": digest, "stage": "live"})
            deploy_ms.append(1000 * (time.perf_counter() - begun))
            answered = client.expect("POST", "/predict", {"model_id": MODEL, "inputs": [place.texts[0]]})
            if answered["patch_digest"] != digest:
                raise SystemExit("an answer came from the patch before")
            spent.append(1000 * (time.perf_counter() - begun))
            # Two deployments of one second and content would be one line of the ledger.
            time.sleep(1.05 if turn + 1 < num else 0)
    finally:
        stop.set()
        thread.join()
    return {
        "swap_ms": statistics.median(spent),
        "deploy_ms": statistics.median(deploy_ms),
        "num_swaps": num,
        "num_answered_meanwhile": sum(asked),
        "num_lines_before": len(before),
    }


def soak(place: Place, server: Server, minutes: float) -> dict[str, Any]:
    """Return the server's memory over time under mixed load, and its slope."""
    made = iter(range(1 << 41, 1 << 42))
    clients = [Client(server, place.tokens[f"patched-{n % TENANTS}"]) for n in range(8)]
    marks: list[tuple[float, float]] = []
    counts = {"predictions": 0, "reports": 0, "searches": 0}
    guard, stop = threading.Lock(), threading.Event()

    def call(client: Client, number: int, turn: int) -> int:
        # One client in eight searches: each tenant reads and verifies the market for itself.
        kind = "searches" if number == 0 and turn % 50 == 49 else "reports" if turn % 4 == 3 else "predictions"
        if kind == "predictions":
            inputs = [place.texts[(number * 31 + turn + i) % len(place.texts)] for i in range(1 + turn % 5)]
            client.expect("POST", "/predict", {"model_id": MODEL, "inputs": inputs})
        elif kind == "reports":
            client.expect("POST", "/failures/report", failure(next(made)))
        else:
            body = {"query": place.texts[turn % 100], "model_id": MODEL, "task_type": "text_classification"}
            client.expect("POST", "/marketplace/search", body)
        with guard:
            counts[kind] += 1
        # Below the limit of each tenant, so that nothing is refused.
        time.sleep(0.02)
        return 1

    def look() -> None:
        begun = time.monotonic()
        while not stop.wait(5.0):
            marks.append((time.monotonic() - begun, server.resident_mib()))

    watching = threading.Thread(target=look)
    watching.start()
    try:
        _, spent_s = in_parallel(clients, 60 * minutes, call)
    finally:
        stop.set()
        watching.join()
    later = marks[len(marks) // 3 :]
    if len(later) < 3:
        raise SystemExit("a soak needs at least half a minute")
    slope = float(np.polyfit([t for t, _ in later], [m for _, m in later], 1)[0]) * 60
    return {
        "minutes": spent_s / 60,
        **counts,
        "first_mib": marks[0][1],
        "later_mib": later[0][1],
        "last_mib": marks[-1][1],
        "peak_mib": max(m for _, m in marks),
        "slope_mib_a_minute": slope,
        "marks": [[round(t, 1), round(m, 1)] for t, m in marks],
    }


def show_mixed(rows: list[dict[str, Any]]) -> None:
    """Print the table of mixed batches."""
    print("mixed batches, in one process (texts a second; ratios of wall, of CPU in brackets)")
    print("  texts tenants      base     mixed      peft   mixed/peft       base/mixed time   labels  bits")
    for row in rows:
        print(
            f"  {row['texts']:5d} {row['tenants']:7d} {row['base_texts_s']:9.0f} {row['mixed_texts_s']:9.0f}"
            f" {row['peft_texts_s']:9.0f}   {row['peft_ratio']:5.2f} ({row['peft_ratio_cpu']:.2f})"
            f"   x{row['base_overhead']:.2f} (x{row['base_overhead_cpu']:.2f}) of base"
            f"   {row['same_labels']:.3f}  {row['same_bits_as_alone']:.2f}"
        )
    few = {row["tenants"]: row for row in rows if row["texts"] == min(r["texts"] for r in rows)}
    print(
        f"  aims, one text a tenant: x{AIM_RATIO:g} of peft with 32: {few[32]['peft_ratio']:.2f};"
        f" at most x{AIM_OVERHEAD:g} of the base with 8: {few[8]['base_overhead']:.2f}"
    )


def show_soak(found: dict[str, Any]) -> None:
    """Print what a soak did, and how memory went."""
    done = ", ".join(f"{found[kind]:,} {kind}" for kind in ("predictions", "reports", "searches"))
    print(f"soak: {found['minutes']:.1f} min, {done}")
    print(
        f"  resident MiB: {found['first_mib']:.0f} first, {found['later_mib']:.0f} after a third,"
        f" {found['last_mib']:.0f} last, {found['peak_mib']:.0f} peak;"
        f" slope of the later two thirds {found['slope_mib_a_minute']:+.2f} MiB a minute"
    )


def main() -> None:
    """Measure, print, and keep the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few repetitions, short runs")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="only load for so long, and look at memory")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", module="peft")
    threads = use_threads()
    load = os.getloadavg()[0]
    print(f"service: {platform.machine()}, {os.cpu_count()} cores, {threads} threads, load average {load:.1f} before")
    figures: dict[str, Any] = {"machine": platform.machine(), "cores": os.cpu_count(), "load_before": load}
    seconds = 1.0 if args.quick else 5.0
    with tempfile.TemporaryDirectory(prefix="symbio-bench-") as name:
        place = build_place(Path(name), TENANTS, 20 if args.quick else 200)
        if args.soak is None:
            sizes, repeats = ((32,), 2) if args.quick else ((32, 256), 5)
            figures["mixed"] = [row for n in sizes for row in mixed_batches(place, n, COUNTS, repeats)]
            show_mixed(figures["mixed"])
        with serving(Path(name)) as server:
            Client(server, place.tokens["plain-0"]).expect("POST", "/predict", {"model_id": MODEL, "inputs": ["warm"]})
            if args.soak is not None:
                figures["soak"] = found = soak(place, server, args.soak)
                show_soak(found)
            else:
                print("over HTTP, server and clients on the same cores")
                figures["reports"] = reports(place, server, seconds)
                print("  reports a second     " + json.dumps({k: round(v) for k, v in figures["reports"].items()}))
                figures["search"] = searches(place, server, 20 if args.quick else 200)
                print("  search               " + json.dumps({k: round(v, 1) for k, v in figures["search"].items()}))
                figures["predict"] = predictions(place, server, seconds, TENANTS)
                print("  32 clients, texts/s  " + json.dumps({k: round(v) for k, v in figures["predict"].items()}))
                figures["swap"] = swaps(place, server, 3 if args.quick else 8)
                print("  hot swap             " + json.dumps({k: round(v, 1) for k, v in figures["swap"].items()}))
            figures["server_mib"] = server.resident_mib()
            print(f"  server's resident memory {figures['server_mib']:.0f} MiB")
    if args.out:
        write_json(args.out, figures)


if __name__ == "__main__":
    main()
