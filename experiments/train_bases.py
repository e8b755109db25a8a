"""Train the generators that the package ships, and note the digest of their weights.

    python experiments/train_bases.py scan/add-jump scan/around-right scan/length

Each is trained by the recipe of its world for world seed 0 (minutes on two cores) and copied to
``symbio_lab/scenarios/weights/``; the SHA-256 of its weights goes to ``DIGESTS.json`` there. A base that the package
ships already is left as it is.
"""

from __future__ import annotations

import argparse
import shutil

from symbio_lab.codec import read_json, write_json
from symbio_lab.config import load_settings
from symbio_lab.models.digests import file_sha256
from symbio_lab.scenarios.causal_base import WEIGHTS
from symbio_lab.scenarios.world import build_world


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("worlds", nargs="+", help="names of generation worlds")
    asked = parser.parse_args()
    settings = load_settings().settings
    for name in asked.worlds:
        model = build_world(name, settings=settings).model
        for folder in sorted(settings.bases.glob(f"{name.replace('/', '-')}-*")):
            target = WEIGHTS / folder.name
            if target.is_dir() or read_json(folder / "recipe.json")["model_id"] != model.model_id:
                continue
            shutil.copytree(folder, target)
            path = WEIGHTS / "DIGESTS.json"
            digests = read_json(path) if path.is_file() else {}
            digests[folder.name] = file_sha256(target / "model.safetensors")
            write_json(path, dict(sorted(digests.items())))
            print(f"{name}: {folder.name}")


if __name__ == "__main__":
    main()
