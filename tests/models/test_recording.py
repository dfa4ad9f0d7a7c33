"""Calls over real HTTP on loopback, recorded on the wire and answered again from the recording with the server gone."""

import asyncio
import json
import re
import time

import pytest

from harness.errors import InfraError, LimitReached, MachineError, ModelFault, UsageError
from harness.models import keys
from harness.models.gateway import ModelGateway, build_routes
from harness.models.recording import RecordedModel, Recorder, canonical, digest_of, file_of, read_recording
from harness.models.replayed import Diverged, Recordings, first_difference
from harness.models.routes import recording_to, replaying
from harness.records import ModelCall, ModelReply, ModelRequest, Trial, TrialSpec, Usage
from harness.records.experiment import ModelChoice

CHAT = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [
    {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}}  # fmt: skip
CLAUDE = {"id": "x", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn", "stop_sequence": None,
          "content": [{"type": "text", "text": "hello"}], "usage": {"input_tokens": 11, "output_tokens": 3}}  # fmt: skip
GEMINI = {"candidates": [{"content": {"role": "model", "parts": [{"text": "hello"}]}, "finishReason": "STOP", "index": 0}],
          "usageMetadata": {"promptTokenCount": 11, "candidatesTokenCount": 3, "totalTokenCount": 14}}  # fmt: skip
SHAPED, PLAIN = "sk-live-0123456789abcdefghij", "a+plain/Secret=90210"


class Server:
    """Answers from a list of (status, headers, body); the last one for ever. None closes the connection, a number hangs."""

    def __init__(self, *answers):
        self.answers, self.requests, self.heads = list(answers), 0, []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.base = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def serve(self, reader, writer):
        try:
            while (line := await reader.readline()).strip():
                length, head = 0, line.decode()
                while (header := (await reader.readline()).decode()).strip():
                    head += header
                    name, _, value = header.partition(":")
                    length = int(value) if name.lower() == "content-length" else length
                await reader.readexactly(length)
                self.heads.append(head)
                answer = self.answers[min(self.requests, len(self.answers) - 1)]
                self.requests += 1
                if answer is None:
                    return
                if isinstance(answer, int):
                    await asyncio.sleep(answer)
                status, headers, body = answer
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(data)}"]
                lines += [f"{k}: {v}" for k, v in headers.items()]
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


def ok(body=CHAT, **headers):
    return 200, headers, body


def call(text="hi", number=0, deadline=30.0, trial="c0000/task/0-0"):
    return ModelCall(alias="main", messages=({"role": "user", "content": text},), seed=1, trial=trial, call=number,
                     deadline=time.monotonic() + deadline)  # fmt: skip


def gateway_of(name, base, adapter_of):
    attempts = []
    routes = build_routes({"main": ModelChoice(name=name, api_base=base)}, adapter_of)
    return ModelGateway(routes, backoff=0.05, on_attempt=lambda a: attempts.append(a.kind)), attempts


def record(folder, *answers, name="openai/m", calls=None):
    """The calls through the real adapter against a server: what came of each, the attempts, the server."""

    async def main():
        async with Server(*answers) as server:
            gateway, attempts = gateway_of(name, server.base, recording_to(folder))
            came = [await settled(gateway, one) for one in calls or [call()]]
            return came, attempts, server

    return asyncio.run(main())


def replay(folder, calls=None, name="openai/m", trials=None, seen=None):
    """The same calls again, from the recording: nobody listens at the address."""

    async def main():
        recordings = Recordings(folder, trials or {}, (seen if seen is not None else []).append)
        gateway, attempts = gateway_of(name, "http://127.0.0.1:9/v1", replaying(recordings))
        return [await settled(gateway, one) for one in calls or [call()]], attempts

    return asyncio.run(main())


async def settled(gateway, one):
    try:
        return await gateway.complete(one)
    except Exception as error:
        return error


def lines_of(folder, trial="c0000/task/0-0"):
    return list(read_recording(file_of(folder, trial)))


@pytest.mark.parametrize(
    ("name", "variable", "body", "path"),
    [
        ("openai/m", "OPENAI_API_KEY", CHAT, "/v1/chat/completions"),
        ("minimax/m", "MINIMAX_API_KEY", CHAT, "/v1/chat/completions"),
        ("openrouter/m", "OPENROUTER_API_KEY", CHAT, "/v1/chat/completions"),
        ("hosted_vllm/m", None, CHAT, "/v1/chat/completions"),
        ("anthropic/m", "ANTHROPIC_API_KEY", CLAUDE, "/v1/v1/messages"),
        ("gemini/m", "GEMINI_API_KEY", GEMINI, "/v1/models/m:generateContent"),
    ],
)
def test_every_route_is_recorded_on_the_wire_and_its_key_is_not(tmp_path, monkeypatch, name, variable, body, path):
    for secret in (SHAPED, PLAIN):
        if variable:
            monkeypatch.setenv(variable, secret)
        folder = tmp_path / secret[:2]
        came, _, server = record(folder, ok(body, **{"X-Ratelimit-Remaining": "9", "Set-Cookie": "a=b"}), name=name)
        assert came[0].message["content"] == "hello", came
        (line,) = lines_of(folder)
        sent, got = line.wire[0]["request"], line.wire[0]["response"]
        assert (sent["method"], sent["path"]) == ("POST", path)
        assert set(sent["headers"]) <= {"content-type", "anthropic-version"}
        assert "hi" in json.dumps(sent["body"])
        assert (got["status"], got["body"]) == (200, body)
        assert got["headers"] == {"content-type": "application/json", "x-ratelimit-remaining": "9"}
        assert line.digest == digest_of(line.asked)
        if variable:
            assert secret in server.heads[0], "the key was not sent, so this proves nothing"
        assert_no_keys(folder, secret)
        again, attempts = replay(folder, name=name)
        assert again[0].message == came[0].message
        assert (again[0].usage, again[0].served, attempts) == (came[0].usage, came[0].served, ["ok"])
        assert again[0].origin == "replayed"


def assert_no_keys(folder, *secrets):
    """No key that the environment holds, and nothing shaped like one, in any file."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        text = path.read_text("utf-8", "replace")
        assert not any(secret in text for secret in secrets), path
        assert not keys._SHAPES.search(text), path
        assert not re.search(r"(?i)authorization|api[-_]key|set-cookie", text), path


def test_a_key_that_a_prompt_or_a_server_repeats_is_taken_out(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", PLAIN)
    echo = {"error": {"message": f"quota of {PLAIN} and {SHAPED} is used up", "type": "x"}}
    asked = [call(f"my keys are {SHAPED} and {PLAIN}")]
    came, attempts, _ = record(tmp_path, (429, {"Retry-After": "0.1"}, echo), ok(), calls=asked)
    assert attempts == ["rate_limit", "ok"]
    text = file_of(tmp_path, "c0000/task/0-0").read_text()
    assert text.count("[key]") >= 4
    assert_no_keys(tmp_path, PLAIN, SHAPED)
    again, attempts = replay(tmp_path, [asked[0].model_copy(update={"deadline": time.monotonic() + 30})])
    assert again[0].message == came[0].message
    assert attempts == ["rate_limit", "ok"]


def test_errors_are_recorded_as_they_came_and_replayed_in_order_without_waiting(tmp_path):
    bad = [
        (429, {"Retry-After": "1"}, {"error": {"message": "slow down"}}),
        (200, {}, b'{"id": "x", "choi'),
        (503, {}, b"<html>"),
        None,
    ]
    came, attempts, server = record(tmp_path, *bad, ok())
    assert attempts == ["rate_limit", "malformed", "server", attempts[3], "ok"]
    tries = lines_of(tmp_path)
    assert [line.number for line in tries] == [1, 2, 3, 4, 5]
    assert [line.wire[0].get("response", {}).get("status") for line in tries] == [429, 200, 503, None, 200]
    assert tries[0].wire[0]["response"]["headers"]["retry-after"] == "1"
    assert tries[0].fault.retry_after == 1
    assert tries[1].wire[0]["response"]["body"] == '{"id": "x", "choi'
    assert "response" not in tries[3].wire[0] and tries[3].wire[0]["error"]
    begun = time.monotonic()
    again, replayed_attempts = replay(tmp_path)
    assert time.monotonic() - begun < 0.5
    assert replayed_attempts == attempts
    assert again[0].message == came[0].message


def test_what_was_given_up_is_given_up_again(tmp_path):
    came, attempts, _ = record(
        tmp_path, (429, {"Retry-After": "60"}, {"error": {"message": "no"}}), calls=[call(deadline=3)]
    )
    assert (came[0].kind, attempts) == ("rate_limit", ["rate_limit"])
    begun = time.monotonic()
    again, _ = replay(tmp_path)
    assert isinstance(again[0], InfraError)
    assert "rate_limit" in str(again[0])
    assert time.monotonic() - begun < 0.5
    came, _, _ = record(
        tmp_path / "b", (400, {}, {"error": {"message": "bad temperature", "type": "invalid_request_error"}})
    )
    again, _ = replay(tmp_path / "b")
    assert isinstance(again[0], ModelFault) and again[0].kind == came[0].kind == "bad_request"


def test_a_call_that_a_limit_cut_off_is_cut_off_again_at_once(tmp_path):
    asked = [call("first"), call("second", 1, deadline=1.0)]
    came, _, _ = record(tmp_path, ok(), 30, calls=asked)
    assert isinstance(came[1], LimitReached | ModelFault)
    last = lines_of(tmp_path)[-1]
    assert last.reply is None and 0.5 < last.seconds < 5
    begun = time.monotonic()
    again, _ = replay(tmp_path, [call("first"), call("second", 1)])
    assert isinstance(again[1], LimitReached | InfraError)
    assert time.monotonic() - begun < 0.5


def test_a_second_try_that_the_time_limit_cut_off_is_infrastructures_again(tmp_path):
    came, _, _ = record(tmp_path, (503, {}, b"busy"), 30, calls=[call(deadline=1.0)])
    assert isinstance(came[0], ModelFault)
    assert [(line.number, line.fault is None, line.reply) for line in lines_of(tmp_path)] == [
        (1, False, None),
        (2, True, None),
    ]
    again, _ = replay(tmp_path)
    assert isinstance(again[0], InfraError)


class Echo:
    """An adapter that sends nothing: recorded at its seam, without a wire."""

    async def complete(self, request):
        said = {"role": "assistant", "content": f"echo {request.messages[-1]['content'][:20]}", "nothing": None}
        return ModelReply(message=said, usage=Usage(calls=1, tokens_in=5), origin="live", served="echo")


def conversation(length, trial="t", size=200):
    history = []
    for number in range(length):
        history.append({"role": "user", "content": f"turn {number} " + "x" * size})
        yield ModelRequest(model="openai/m", messages=tuple(history), trial=trial, call=number, tools=(
            {"type": "function", "function": {"name": "bash", "description": "d" * 500}},))  # fmt: skip
        history.append({"role": "assistant", "content": f"echo turn {number}", "nothing": None})


def written(folder, requests, recorder=None):
    model = RecordedModel(Echo(), recorder or Recorder(folder))

    async def main():
        return [await model.complete(request) for request in requests]

    return asyncio.run(main())


def test_long_conversations_grow_linearly_and_are_read_back_whole(tmp_path):
    sizes = {}
    for length in (20, 40):
        written(tmp_path, conversation(length, f"t{length}"))
        sizes[length] = file_of(tmp_path, f"t{length}").stat().st_size
        assert [r.asked for r in read_recording(file_of(tmp_path, f"t{length}"))] == [
            canonical(r) for r in conversation(length, f"t{length}")
        ]
    assert sizes[40] < 2.2 * sizes[20]


def test_a_torn_line_is_no_call_and_the_next_launch_cuts_it_off(tmp_path):
    requests = list(conversation(3))
    written(tmp_path, requests)
    path = file_of(tmp_path, "t")
    path.write_bytes(path.read_bytes()[:-40])
    assert len(list(read_recording(path))) == 2
    written(tmp_path, requests)
    places = [r.place for r in read_recording(path)]
    assert places == [(0, 1), (1, 1), (0, 1), (1, 1), (2, 1)]


def test_damage_inside_is_one_error_that_names_file_and_line(tmp_path):
    written(tmp_path, conversation(3))
    path = file_of(tmp_path, "t")
    lines = path.read_bytes().splitlines(keepends=True)
    for damaged in (b'{"trial": "t"}\n', lines[1][: len(lines[1]) // 2] + b"\n", b"\xff\xfe\n", b"[]\n"):
        path.write_bytes(lines[0] + damaged + lines[2])
        with pytest.raises(UsageError, match=r"t\.jsonl, line 2: the recording is damaged"):
            list(read_recording(path))
        with pytest.raises(Diverged, match="line 2"):
            Recordings(tmp_path, {}).answer(next(conversation(1)))
    with pytest.raises(Diverged, match="not recorded"):
        Recordings(tmp_path, {}).answer(next(conversation(1, "other")))


def test_a_full_disk_is_one_error_that_says_what_to_do(small_disk):
    with pytest.raises(MachineError, match="make room"):
        written(small_disk, conversation(4, size=400_000))


def answered(recordings, requests):
    return [recordings.answer(request) for request in requests]


def done(tries=1, flags=(), outcome="scored"):
    spec = TrialSpec(candidate="c0000", task="t", seed=0, attempt=0)
    return Trial(spec=spec, outcome=outcome, score=1.0 if outcome == "scored" else None, tries=tries, flags=flags)


def test_only_the_last_launch_counts_of_a_trial_that_a_kill_cut_off(tmp_path):
    requests = list(conversation(3))
    written(tmp_path, requests[:2])
    written(tmp_path, requests)
    assert len(answered(Recordings(tmp_path, {"t": done()}), requests)) == 3


def test_a_trial_that_was_tried_again_is_tried_again(tmp_path):
    requests = list(conversation(3))
    recorder = Recorder(tmp_path)
    written(tmp_path, requests[:2], recorder)
    written(tmp_path, requests, recorder)
    recordings = Recordings(tmp_path, {"t": done(tries=2)})
    answered(recordings, requests[:2])
    with pytest.raises(InfraError, match="tried again"):
        recordings.answer(requests[2])
    assert len(answered(recordings, requests)) == 3


def test_the_end_of_a_recording_is_a_divergence_unless_a_limit_ended_the_trial_there(tmp_path):
    requests = list(conversation(3))
    written(tmp_path, requests[:2])
    recordings = Recordings(tmp_path, {"t": done()})
    answered(recordings, requests[:2])
    with pytest.raises(Diverged, match="at call 3, the order of calls: was the end of the recording"):
        recordings.answer(requests[2])
    recordings = Recordings(tmp_path, {"t": done(flags=("time_limit",))})
    answered(recordings, requests[:2])
    with pytest.raises(LimitReached, match="time_limit"):
        recordings.answer(requests[2])


def test_a_trial_that_infrastructure_ended_for_good_is_ended_there_again(tmp_path):
    requests = list(conversation(3))
    written(tmp_path, requests[:2])
    recordings = Recordings(tmp_path, {"t": done(outcome="infra_error")})
    answered(recordings, requests[:2])
    with pytest.raises(InfraError, match="broke off here"):
        recordings.answer(requests[2])


def test_order_of_arrival_does_not_matter(tmp_path):
    recorder = Recorder(tmp_path)
    trials = {name: list(conversation(4, name)) for name in "abc"}
    for number in range(4):
        for name in "cab":
            written(tmp_path, [trials[name][number]], recorder)
    recordings = Recordings(tmp_path, {})
    for name in "bca":
        assert len(answered(recordings, trials[name])) == 4


def test_call_ids_durations_dates_and_temporary_names_are_no_difference():
    def request(ident, text):
        return ModelRequest(model="m", messages=(
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": ident, "type": "function", "function": {"name": "b", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": ident, "content": text}), time_limit=float(len(ident)), trial=ident)  # fmt: skip

    one = request("c1", "3 passed in 0.12s\n-rw-r--r-- 1 a a 9 Nov 24 16:02 x\n/tmp/tmpab12 2026-11-24 0xdeadbeef")
    other = request("c222", "3 passed in 1.07s\n-rw-r--r-- 1 a a 9 Nov  3 09:41 x\n/tmp/tmpzz99 2027-01-02 0xfeedface")
    assert digest_of(canonical(one)) == digest_of(canonical(other))
    changed = request("c1", "4 passed in 0.12s")
    assert digest_of(canonical(one)) != digest_of(canonical(changed))


def test_the_first_difference_names_message_and_line():
    was = {"model": "m", "messages": [{"role": "system", "content": "a\nb\nc"}, {"role": "user", "content": "x"}]}
    now = {"model": "m", "messages": [{"role": "system", "content": "a\nB\nC"}, {"role": "user", "content": "x"}]}
    assert first_difference(was, now) == ("messages[0] (system).content, line 2", '"b"', '"B"')
    longer = {**was, "messages": [*was["messages"], {"role": "tool", "content": "y"}]}
    where, old, new = first_difference(was, longer)
    assert (where, old) == ("messages[2] (tool)", "nothing") and "y" in new
    assert first_difference({**was, "seed": 1}, {**was, "seed": 2}) == ("seed", "1", "2")
    one, other = "p" * 500 + "old" + "q" * 500, "p" * 500 + "new" + "q" * 500
    _, old, new = first_difference(one, other)
    assert "old" in old and "new" in new and len(old) < 120
