"""Rules that a reader relies on: who makes a patch, who sees the judge, what is never loaded."""

from __future__ import annotations

import ast
import re

import pytest

from tests.architecture.sources import Module, imports, imports_when_imported, modules

HEAVY = {"torch", "transformers", "peft", "sentence_transformers"}
MAY_IMPORT_HEAVY = {"models", "surgery", "composition", "testing"}
HUB_FILES = re.compile(r"symbio_lab/(models|failures)/\w+\.py|symbio_lab/(marketplace|sweeps)/hub\w*\.py")
PICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
NEVER_SEE_THE_JUDGE = {"healing", "surgery", "marketplace", "pipeline", "composition", "deployment"}
UNSAFE_KEYWORDS = {"trust_remote_code": True, "strict": False, "weights_only": False, "allow_pickle": True}
EVERY = pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)


def calls(module: Module) -> list[ast.Call]:
    return [node for node in ast.walk(module.tree) if isinstance(node, ast.Call)]


def called(call: ast.Call) -> str:
    return ast.unparse(call.func)


@EVERY
def test_only_trust_makes_a_patch(module: Module) -> None:
    if module.package == "trust":
        return
    made = [
        call.lineno
        for call in calls(module)
        if called(call).split(".")[-1] == "Patch"
        # Rebuilding one from JSON, or changing one, makes an unverified patch just as well.
        or (called(call).split(".")[-1] == "from_plain" and call.args and ast.unparse(call.args[0]).endswith("Patch"))
    ]
    assert not made, f"{module.name} makes a Patch in line(s) {made}: only trust/ may"


@EVERY
def test_nothing_executable_is_ever_loaded(module: Module) -> None:
    pickling = {name.split(".")[0] for name in imports(module.tree)} & PICKLING
    assert not pickling, f"{module.name} imports {pickling}"
    for call in calls(module):
        assert called(call) not in ("torch.load", "pickle.load", "pickle.loads", "eval", "exec"), (
            f"{module.name}:{call.lineno} calls {called(call)}"
        )
        for keyword in call.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            unsafe = keyword.arg in UNSAFE_KEYWORDS and value is UNSAFE_KEYWORDS[keyword.arg]
            assert not unsafe, f"{module.name}:{call.lineno} passes {keyword.arg}={value!r}"


@EVERY
def test_healers_never_import_the_judge(module: Module) -> None:
    if module.package in NEVER_SEE_THE_JUDGE:
        assert not [name for name in imports(module.tree) if name.startswith("symbio_lab.evaluation.judging")]


@EVERY
def test_heavy_libraries_are_imported_where_they_are_used(module: Module) -> None:
    if module.package not in MAY_IMPORT_HEAVY:
        heavy = {name.split(".")[0] for name in imports_when_imported(module.tree)} & HEAVY
        assert not heavy, f"importing {module.name} imports {heavy}: move the import into the function"


@EVERY
def test_only_loading_and_the_hub_transport_reach_the_hub(module: Module) -> None:
    if not HUB_FILES.fullmatch(module.name):
        assert "huggingface_hub" not in {name.split(".")[0] for name in imports(module.tree)}


@EVERY
def test_annotations_are_lazy(module: Module) -> None:
    annotated = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.AnnAssign
    has_annotations = any(isinstance(node, annotated) for node in ast.walk(module.tree))
    assert not has_annotations or "__future__.annotations" in set(imports(module.tree)), module.name


@EVERY
def test_libraries_do_not_configure_logging_or_global_seeds(module: Module) -> None:
    forbidden = {"logging.basicConfig", "random.seed", "np.random.seed", "numpy.random.seed", "torch.manual_seed"}
    if module.package == "cli":
        forbidden = forbidden - {"logging.basicConfig"}
    if module.name.endswith("kernels/zygote.py"):
        # A forked kernel starts with the entropy that a new process would have, not with its parent's state.
        forbidden = forbidden - {"random.seed", "numpy.random.seed"}
    for call in calls(module):
        assert called(call) not in forbidden, f"{module.name}:{call.lineno} calls {called(call)}"
