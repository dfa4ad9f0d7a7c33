"""The shape of the code: dependency direction, file and function sizes, heavy imports, no cycles."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "harness"
FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if "scaffolds" not in p.parts and "_shipped" not in p.parts]
HEAVY = {
    "litellm": "harness.models.litellm_adapter",
    "mlflow": "harness.trackers.mlflow",
    "pandas": "harness.frames",
    "matplotlib": "harness.plots",
    "datasets": None,
    "docker": "harness.sandboxes.docker.engine",
    "ray": None,
}
LAYERS = [
    {"harness.records", "harness.errors", "harness.hashing", "harness.draws"},
    {"harness.seams"},
    {"harness.stats", "harness.power", "harness.gates", "harness.evaluation", "harness.selectors", "harness.budget", "harness.archive", "harness.claims",
     "harness.audits", "harness.duels", "harness.stopping", "harness.render", "harness.predictions"},
    {"harness.digest", "harness.tasks", "harness.taskfile", "harness.suites", "harness.scaffold", "harness.lineage", "harness.journal",
     "harness.paths", "harness.config", "harness.tomlfile", "harness.runs", "harness.locks", "harness.baselines"},
    {"harness.models", "harness.sandboxes", "harness.sdk", "harness.broker", "harness.session", "harness.trajectory",
     "harness.instances", "harness.verification", "harness.artefacts", "harness.rewards", "harness.foreign", "harness.trial", "harness.trialstore", "harness.trialcache", "harness.executor", "harness.proposers",
     "harness.trackers", "harness.evidence", "harness.signs", "harness.integrity", "harness.notes", "harness.display",
     "harness.port", "harness.testing", "harness.programs", "harness.taskcheck", "harness.attackers", "harness.scaffolding", "harness.junit",
     "harness.plots", "harness.report"},
    {"harness.loop"},
    {"harness.wiring", "harness.evalfolder", "harness.identity", "harness.measure", "harness.adopt", "harness.bridges", "harness.frames", "harness.gateways", "harness.replays"},
    {"harness.cli", "harness.__main__"},
]  # fmt: skip


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module):
    while module:
        for number, names in enumerate(LAYERS):
            if module in names:
                return number
        module = module.rpartition(".")[0]
    return None


def imports_of(path, top_only):
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_no_import_points_upwards(path):
    mine = layer_of(module_of(path))
    if module_of(path) == "harness":
        return
    assert mine is not None, f"{module_of(path)} is in no layer: add it to LAYERS"
    for name in imports_of(path, top_only=False):
        if name.startswith("harness."):
            assert layer_of(name) <= mine, f"{module_of(path)} imports {name}, a layer above it"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 62, f"{path.name}:{node.lineno} {node.name} is too long"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_public_names_are_documented(path):
    tree = ast.parse(path.read_text())
    if path.name == "__init__.py" and not tree.body:
        return
    assert ast.get_docstring(tree), f"{path} has no docstring"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_heavy_packages_have_one_door(path):
    for name in imports_of(path, top_only=False):
        package = name.partition(".")[0]
        if package in HEAVY:
            assert module_of(path) == HEAVY[package], f"{module_of(path)} imports {package}"


def test_no_import_cycles():
    graph = {}
    for path in FILES:
        graph[module_of(path)] = {n for n in imports_of(path, top_only=True) if n.startswith("harness")}
    state = {}

    def visit(module, trail):
        if state.get(module) == "done" or module not in graph:
            return
        assert state.get(module) != "open", f"cycle: {' -> '.join([*trail, module])}"
        state[module] = "open"
        for other in graph[module] - {module}:
            visit(other, [*trail, module])
        state[module] = "done"

    for module in graph:
        visit(module, [])


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["show"], ["nosuchverb"]])
def test_light_verbs_import_nothing_heavy(arguments, tmp_path):
    program = (
        "import sys; from harness.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print('HEAVY', [m for m in ('litellm','mlflow','matplotlib','pandas','datasets','docker','scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr


def test_no_type_checking_blocks_or_del():
    for path in FILES:
        text = path.read_text()
        assert "TYPE_CHECKING" not in text, path
        assert "def __del__" not in text, path
