"""The loop: prompt, tools, until the model answers without a tool call. Loads everything else from this folder."""

import importlib.util
import json
import pathlib

try:
    import tomllib
except ImportError:  # Python before 3.11
    tomllib = None

from harness_sdk import ContextError, InfraAbort, LimitError, RequestError, env, log, model, task

HERE = pathlib.Path(__file__).resolve().parent


def text_of(folder, pattern="*.md"):
    """The texts of a folder, by name; READMEs are for people."""
    files = sorted(p for p in (HERE / folder).glob(pattern) if p.name != "README.md")
    return "\n\n".join(p.read_text("utf-8").strip() for p in files)


def modules_of(folder):
    """The Python files of a folder, imported, by name."""
    found = []
    for path in sorted((HERE / folder).glob("*.py")):
        spec = importlib.util.spec_from_file_location(folder + "_" + path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found.append((path.stem, module))
    return found


def skills():
    """Name -> (description, text) of every skills/<name>/SKILL.md; the description is its front matter's."""
    found = {}
    for path in sorted((HERE / "skills").glob("*/SKILL.md")):
        text = path.read_text("utf-8")
        lines = [line for line in text.splitlines() if line.startswith("description:")]
        found[path.parent.name] = (lines[0][len("description:") :].strip() if lines else "", text)
    return found


def system_prompt(known_skills):
    parts = [(HERE / "prompts" / "system.md").read_text("utf-8").strip()]
    memory = text_of("memory")
    if memory:
        parts.append("# Notes from earlier work\n\n" + memory)
    if known_skills:
        listed = "\n".join("- %s: %s" % (name, about) for name, (about, _) in known_skills.items())
        parts.append("# Skills (load one with the skill tool before you need it)\n\n" + listed)
    return "\n\n".join(parts)


def describe(name, module):
    """A tool as the model sees it: the file's docstring and its PARAMETERS."""
    function = {"name": name, "description": (module.__doc__ or "").strip(), "parameters": module.PARAMETERS}
    return {"type": "function", "function": function}


SKILL_TOOL = {
    "type": "function",
    "function": {
        "name": "skill",
        "description": "Load the text of a skill.",
        "parameters": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    },
}


def call_tool(call, tools, known_skills):
    """Run one tool call; what goes wrong is told to the model."""
    name = call["function"]["name"]
    try:
        arguments = json.loads(call["function"].get("arguments") or "{}")
        if name == "skill" and known_skills:
            return known_skills[arguments["name"]][1]
        return tools[name].run(env, **arguments)
    except (LimitError, InfraAbort):
        raise
    except Exception as error:
        log.count("tool_error")
        return "error: %s: %s" % (type(error).__name__, error)


def hook(middleware, name, *arguments):
    """Call a hook of every middleware file that has it; the last result that is not None wins."""
    result = None
    for _, module in middleware:
        if hasattr(module, name):
            answer = getattr(module, name)(*arguments)
            result = answer if answer is not None else result
    return result


def main():
    given = task()
    settings = tomllib.loads((HERE / "scaffold.toml").read_text("utf-8")) if tomllib else {}
    tools, middleware, known_skills = dict(modules_of("tools")), modules_of("middleware"), skills()
    offered = [describe(name, module) for name, module in tools.items()] + ([SKILL_TOOL] if known_skills else [])
    prompt = (HERE / "prompts" / "task.md").read_text("utf-8")
    messages = [
        {"role": "system", "content": system_prompt(known_skills)},
        {
            "role": "user",
            "content": prompt.replace("{instruction}", given["instruction"]).replace("{workdir}", given["workdir"]),
        },
    ]
    hook(middleware, "on_start", given)
    for _ in range(settings.get("limits", {}).get("message_limit", 40)):
        hook(middleware, "before_model", messages)
        message = model.complete(messages, offered, settings.get("sampling", {}))["message"]
        messages.append(message)
        if not message.get("tool_calls"):
            return
        for call in message["tool_calls"]:
            output = call_tool(call, tools, known_skills)
            changed = hook(
                middleware, "after_tool", call["function"]["name"], call["function"].get("arguments"), output
            )
            messages.append(
                {"role": "tool", "tool_call_id": call["id"], "content": changed if changed is not None else output}
            )


if __name__ == "__main__":
    try:
        main()
    except (LimitError, InfraAbort, ContextError, RequestError) as error:
        print("ended: %s: %s" % (type(error).__name__, error))
