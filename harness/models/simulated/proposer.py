"""The simulated proposer: reads the evidence through the editor's shell tool, edits the scaffold, writes the manifest.

Pure, and a script like the worker's: what it proposes depends on what its commands printed (signs, history, the
scaffold's files) and on the draws of this conversation. With evidence it hits the right edit with probability
`ability.proposer`; else it does what weak proposers do.
"""

from __future__ import annotations

import re
from collections.abc import Generator

from harness.models.simulated.ladder import Ability
from harness.models.simulated.noise import Noise
from harness.models.simulated.proposer_edits import CHEATS, GOOD, IDLE, PROMPT, Edit, aimed, prompt_file
from harness.models.simulated.transcript import fold, shell_tool, tool_call
from harness.records import Message, ModelRequest

Script = Generator[str, str, str]

_UNDO = (
    "cd /app/scaffold && cat /app/rejection.md && rm -rf middleware/retry.py && sed -i '/reward.txt/d; /it fails often/d' "
    "prompts/system.md && sed -i 's/^message_limit = 4000$/message_limit = 40/' scaffold.toml"
)
"""Takes back what a proposer of this kind gets refused for."""

_SIGN = re.compile(r"^- (\w+): (\d+) of (\d+)", re.MULTILINE)
_CLASS = re.compile(r"^- (?:partly|never) passing: (.*)$", re.MULTILINE)
_FACTS = re.compile(r"Facts of this round:\n(.*?)\n\n", re.DOTALL)


def is_proposer(request: ModelRequest) -> bool:
    """Whether a conversation asks for a proposal or a memo."""
    first = fold(request.messages[:3])
    return first.system.startswith("Round memo.") or ("manifest.toml" in first.user and "/evidence" in first.user)


def propose_reply(request: ModelRequest, ability: Ability) -> Message:
    """The next message of a proposer's conversation."""
    transcript = fold(request.messages)
    if transcript.system.startswith("Round memo."):
        return {"role": "assistant", "content": _memo(transcript.user)}
    tool = shell_tool(request.tools)
    if tool is None:
        return {"role": "assistant", "content": "I cannot do this: there is no tool that runs shell commands."}
    noise = Noise.of(request, transcript.system, transcript.user)
    script = _script(noise, ability, repair="was refused" in transcript.user)
    try:
        command = next(script)
        for observation in transcript.observations:
            command = script.send(observation)
    except StopIteration as stop:
        return {"role": "assistant", "content": str(stop.value)}
    return tool_call(tool, command, len(transcript.observations))


def _memo(asked: str) -> str:
    """A memo from the facts in the request: what happened, self-criticism, what next."""
    found = _FACTS.search(asked)
    facts = found.group(1) if found else "nothing is known of this round"
    if ": keep" in facts:
        judged = "It helped; I would now look for what still fails rather than polish it."
    elif "invalid" in facts:
        judged = "It was refused before it was measured: my fault, I must keep to the rules that the evidence states."
    else:
        judged = "It did not show a gain; I should tie the next edit closer to a sign that many failed trials share."
    return f"{facts}. {judged}"


def _script(noise: Noise, ability: Ability, repair: bool) -> Script:
    summary = yield "cat /evidence/README.md /evidence/summary.md /evidence/settings.toml"
    past = yield "cat /evidence/history.md /evidence/rejected.md /evidence/memo.md"
    extra = "; cat /app/rejection.md" if repair else ""
    files = yield (
        'cd /app/scaffold && for f in $(find . -type f -size -8k ! -name agent.py | sort); do echo "== $f"; cat $f; done'
        + extra
    )
    target = prompt_file(files)
    if repair:
        yield _UNDO.replace(PROMPT, target)
    edit = aimed(_choose(noise, ability, summary, past, files, repair, target), target)
    tasks = _failing(summary)
    yield edit.command.replace("{task}", tasks[0] if tasks else "the hard task")
    yield _manifest(edit, tasks, summary, repair)
    yield "cd /app/scaffold && python3 -m py_compile $(find . -name '*.py' | sort); python3 -c " \
          "'import tomllib; tomllib.load(open(\"scaffold.toml\", \"rb\"))'; find . -name __pycache__ -exec rm -rf {} +"  # fmt: skip
    return "The scaffold is edited and the manifest is written."


def _choose(noise: Noise, ability: Ability, summary: str, past: str, files: str, repair: bool, target: str) -> Edit:
    """The edit: what the signs ask for, when they are seen and understood; else a guess. A foreign agent gets rules only."""
    good, idle, cheats = (
        [e for e in pool if target == PROMPT or e.component == PROMPT] for pool in (GOOD, IDLE, CHEATS)
    )
    untried = [edit for edit in good if edit.title not in past and (not edit.mark or edit.mark not in files)]
    counts = {name: int(n) for name, n, _ in _SIGN.findall(summary)}
    answering = sorted((e for e in untried if any(sign in counts for sign in e.signs)),
                       key=lambda e: (-max(counts.get(sign, 0) for sign in e.signs), good.index(e)))  # fmt: skip
    if answering and (repair or noise.happens("understands", ability.proposer)):
        return answering[min(int(noise.draw("which") * 1.6), len(answering) - 1)]
    luck = noise.draw("guess")
    pool = untried if luck < 0.25 else idle if luck < 0.72 else cheats
    fresh = [e for e in pool if e.title not in past and (not e.mark or e.mark not in files)] or untried or idle
    if repair:
        fresh = untried or idle[:1]
    return fresh[int(noise.draw("pick") * len(fresh))]


def _failing(summary: str) -> list[str]:
    """Train tasks that fail at times, as the summary lists them."""
    names = [
        item.split()[0] for line in _CLASS.findall(summary) for item in line.split(", ") if item and item != "none"
    ]
    return list(dict.fromkeys(names))


def _manifest(edit: Edit, tasks: list[str], summary: str, repair: bool) -> str:
    signs = [sign for sign in edit.signs if sign in summary]
    predicted = tasks[:3] if edit.kind in ("good", "cheat") else tasks[:1]
    listed = ", ".join(f'"{task}"' for task in predicted)
    evidence = ", ".join(f'"summary.md: {sign}"' for sign in signs)
    effect = "dearer" if edit.key in ("read", "verify", "page", "plan", "bloat", "wide") else "same"
    lines = [f'title = "{edit.title}"', f'mechanism = "{edit.mechanism}"',
             f'hypothesis = "{edit.mechanism} should help wherever this is missing, on unseen tasks too"',
             f'root_cause = "{edit.root_cause or "not established"}"', f"evidence = [{evidence}]",
             f'components = ["{edit.component}"]', f"predicted_fixes = [{listed}]", "predicted_risks = []",
             f'cost_effect = "{effect}"']  # fmt: skip
    body = "\n".join(lines)
    return f"cat > /app/manifest.toml <<'END'\n{body}\nEND"
