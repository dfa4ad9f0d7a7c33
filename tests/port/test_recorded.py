"""Requests as Codex CLI 0.169.0 and Claude Code 2.1.197 sent them through this port in a bubblewrap sandbox, texts cut short."""

from harness.port import messages, responses

MODELS = {"main": "simulated/medium"}
SCHEMA = {"type": "object"}
CODEX = {
    "model": "main", "stream": True, "store": False, "include": ["reasoning.encrypted_content"], "tool_choice": "auto",
    "parallel_tool_calls": True, "reasoning": {"summary": "auto"}, "prompt_cache_key": "01a20d82", "client_metadata": {},
    "input": [
        {"type": "message", "id": "msg_f3", "role": "developer", "content": [{"type": "input_text", "text": "rules"}]},
        {"type": "message", "id": "msg_01", "role": "developer", "content": [
            {"type": "input_text", "text": "skills"}, {"type": "input_text", "text": "permissions"}]},
        {"type": "message", "id": "msg_02", "role": "user", "content": [{"type": "input_text", "text": "write yes"}]},
        {"type": "reasoning", "id": "rs_000001", "summary": [{"type": "summary_text", "text": "hm"}], "content": None,
         "encrypted_content": "harness1:eyJyZWFzb25pbmdfY29udGVudCI6ICJobSJ9"},
        {"type": "message", "status": "completed", "id": "msg_000001", "role": "assistant", "content": [
            {"type": "output_text", "text": "Writing.", "annotations": [], "logprobs": []}]},
        {"type": "function_call", "status": "completed", "id": "fc_000001_0", "name": "exec_command", "arguments": '{"cmd": "ls"}',
         "call_id": "c1"},
        {"type": "function_call_output", "id": "fco_01", "call_id": "c1", "output": "done.txt"},
    ],
    "tools": [
        {"type": "function", "name": "exec_command", "description": "Runs", "strict": False, "parameters": SCHEMA},
        {"type": "namespace", "name": "multi_agent_v1", "description": "Tools", "tools": [
            {"type": "function", "name": "close_agent", "description": "Closes", "strict": False, "parameters": SCHEMA}]},
        {"type": "web_search", "external_web_access": True},
    ],
}  # fmt: skip
CLAUDE = {
    "model": "main", "stream": True, "max_tokens": 32000, "metadata": {}, "thinking": {"type": "adaptive"}, "output_config": {"effort": "high"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "system": [{"type": "text", "text": "header"}, {"type": "text", "text": "rules", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "reminder"}, {"type": "text", "text": "write yes"}]},
        {"role": "system", "content": "Available agents"},
        {"role": "assistant", "content": [
            {"type": "text", "text": "Writing."},
            {"type": "tool_use", "id": "c1", "name": "Bash", "input": {"command": "ls", "description": "list"}}]},
        {"role": "user", "content": [{"tool_use_id": "c1", "type": "tool_result", "content": "done.txt", "is_error": False,
                                      "cache_control": {"type": "ephemeral"}}]},
    ],
    "tools": [{"name": "Agent", "description": "Launches", "input_schema": SCHEMA}, {"name": "Bash", "description": "Runs", "input_schema": SCHEMA}],
}  # fmt: skip


def test_codex():
    asked = responses.to_request(CODEX, MODELS)
    assert [m["role"] for m in asked.prompt.messages] == ["developer", "developer", "user", "assistant", "tool"]
    turn = asked.prompt.messages[3]
    assert (turn["content"], turn["reasoning_content"], len(turn["tool_calls"])) == ("Writing.", "hm", 1)
    assert [tool["function"]["name"] for tool in asked.prompt.tools] == ["exec_command"]
    assert [note.split()[3].strip(":'") for note in asked.notes] == ["namespace", "web_search", "reasoning"]
    assert asked.stream


def test_claude_code():
    asked = messages.to_request(CLAUDE, MODELS)
    assert [m["role"] for m in asked.prompt.messages] == ["system", "user", "system", "assistant", "tool"]
    assert asked.prompt.messages[0]["content"][1]["cache_control"] == {"type": "ephemeral"}
    assert asked.prompt.messages[4]["cache_control"] == {"type": "ephemeral"}
    assert len(asked.prompt.tools) == 2
    assert {note.split()[3].strip("'") for note in asked.notes} == {
        "output_config.effort",
        "context_management",
        "thinking",
    }
