"""Faults over real HTTP on loopback, through the real litellm adapter: classified, retried, within the deadline, counted."""

import asyncio
import json
import time

import pytest

from harness.budget import Budget
from harness.errors import LimitReached, MachineError, ModelFault
from harness.models.gateway import ModelGateway, build_routes
from harness.models.litellm_adapter import LitellmModel
from harness.models.serve import ChatServer
from harness.models.simulated import NAMES, SimulatedModel
from harness.records import ModelCall, ModelRequest
from harness.records.experiment import ModelChoice

GOOD = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [
    {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}}  # fmt: skip


class Faulty:
    """A server that answers from a list of (status, headers, body, delay); the last one for ever."""

    def __init__(self, *answers):
        self.answers, self.requests, self.bodies = list(answers), 0, []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.base = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def serve(self, reader, writer):
        try:
            while (await reader.readline()).strip():
                length = 0
                while (header := await reader.readline()).strip():
                    name, _, value = header.decode().partition(":")
                    length = int(value) if name.lower() == "content-length" else length
                self.bodies.append(json.loads(await reader.readexactly(length)))
                answer = self.answers[min(self.requests, len(self.answers) - 1)]
                self.requests += 1
                if answer is None:
                    return
                status, headers, body, delay = answer
                await asyncio.sleep(delay)
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                head = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(data)}"]
                head += [f"{k}: {v}" for k, v in headers.items()]
                writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + data)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


def ok(delay=0):
    return 200, {}, GOOD, delay


def error(status, headers=None, body=None):
    return status, headers or {}, body or {"error": {"message": "no", "type": "x", "code": "x"}}, 0


def call(deadline=30.0, **extra):
    return ModelCall(alias="main", messages=({"role": "user", "content": "hi"},), seed=1, trial="t",
                     deadline=time.monotonic() + deadline, **extra)  # fmt: skip


async def through(server, deadline=30.0, budget=None, **price):
    attempts = []
    choice = ModelChoice(name="openai/m", api_base=server.base, **price)
    gateway = ModelGateway(build_routes({"main": choice}, lambda c: LitellmModel("none")), budget, backoff=0.05,
                           on_attempt=lambda a: attempts.append(a.kind))  # fmt: skip
    return gateway, attempts, await gateway.complete(call(deadline))


def run(*answers, deadline=30.0):
    async def main():
        async with Faulty(*answers) as server:
            gateway, attempts, reply = await through(server, deadline, usd_per_mtok_in=1.0, usd_per_mtok_out=2.0)
            return server, gateway, attempts, reply

    return asyncio.run(main())


def test_429_with_retry_after_is_waited_for_and_retried_once():
    begun = time.monotonic()
    server, gateway, attempts, reply = run(error(429, {"Retry-After": "1"}), ok())
    assert attempts == ["rate_limit", "ok"]
    assert server.requests == 2
    assert time.monotonic() - begun >= 1.0
    assert reply.message["content"] == "hello"
    assert gateway.budget.total.usd == pytest.approx((11 * 1.0 + 3 * 2.0) / 1e6)


def test_429_with_a_wait_beyond_the_deadline_gives_up_at_once():
    begun = time.monotonic()
    with pytest.raises(ModelFault) as caught:
        run(error(429, {"Retry-After": "120"}), deadline=5.0)
    assert caught.value.kind == "rate_limit"
    assert caught.value.retry_after == 120
    assert time.monotonic() - begun < 5.0


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (error(500), "server"),
        (error(503, body=b"<html>busy</html>"), "server"),
        ((200, {}, b'{"id": "x", "choi', 0), "malformed"),
        ((200, {}, {**GOOD, "choices": []}, 0), "malformed"),
        ((200, {}, {k: v for k, v in GOOD.items() if k != "usage"}, 0), "malformed"),
        (None, None),
    ],
    ids=["500", "503-html", "truncated-json", "empty-choices", "no-usage", "closed-socket"],
)
def test_what_can_be_retried_is_retried(bad, kind):
    server, _, attempts, reply = run(bad, ok())
    assert attempts[-1] == "ok"
    assert len(attempts) == server.requests == 2
    if kind:
        assert attempts[0] == kind
    assert reply.usage.tokens_in == 11


def test_what_never_gets_better_fails_after_five_tries_with_its_kind():
    with pytest.raises(ModelFault, match="after 5 tries") as caught:
        run(error(500))
    assert caught.value.kind == "server"


def test_bad_requests_and_overlong_prompts_are_not_retried():
    async def main(body):
        async with Faulty(error(400, body=body)) as server:
            with pytest.raises(ModelFault) as caught:
                await through(server)
            return server.requests, caught.value.kind

    assert asyncio.run(main({"error": {"message": "bad temperature", "type": "invalid_request_error"}})) == (
        1,
        "bad_request",
    )
    text = "This model's maximum context length is 8192 tokens"
    body = {"error": {"message": text, "type": "invalid_request_error", "code": "context_length_exceeded"}}
    assert asyncio.run(main(body)) == (1, "context")


def test_a_refused_key_says_what_to_do_and_shows_no_key():
    async def main():
        async with Faulty(error(401, body={"error": {"message": "bad key sk-abcdefghijklmnopqrstuv"}})) as server:
            await through(server)

    with pytest.raises(MachineError) as caught:
        asyncio.run(main())
    assert "refused the key" in str(caught.value)
    assert "sk-abc" not in str(caught.value)


def test_a_hanging_server_ends_with_the_deadline():
    begun = time.monotonic()
    with pytest.raises(LimitReached) as caught:
        run(ok(delay=60), deadline=1.5)
    assert caught.value.limit == "time_limit"
    assert time.monotonic() - begun < 6


def test_the_budget_holds_under_sixteen_calls_at_once():
    async def main():
        async with Faulty(ok(delay=0.05)) as server:
            choice = ModelChoice(name="openai/m", api_base=server.base, usd_per_mtok_in=1.0, usd_per_mtok_out=2.0)
            budget = Budget(usd=0.0021)
            gateway = ModelGateway(build_routes({"main": choice}, lambda c: LitellmModel("none")), budget)
            results = await asyncio.gather(*(gateway.complete(call()) for _ in range(16)), return_exceptions=True)
            return server.requests, results, budget

    requests, results, budget = asyncio.run(main())
    refused = [r for r in results if isinstance(r, LimitReached)]
    assert refused and requests == 16 - len(refused)
    assert budget.total.usd <= 0.0021


def test_an_unknown_price_is_unpriced_and_never_zero():
    async def main():
        async with Faulty(ok()) as server:
            gateway, _, reply = await through(server)
            return gateway.budget.total.usd, reply.usage.usd

    assert asyncio.run(main()) == (None, None)


def test_only_what_was_asked_crosses_the_wire():
    server, _, _, _ = run(ok())
    body = server.bodies[0]
    assert body["messages"] == [{"role": "user", "content": "hi"}]
    assert body["seed"] == 1
    assert not {"_skip_mcp_handler", "api_key", "max_retries"} & set(body)


def test_the_served_simulated_model_answers_as_the_embedded_one_does():
    tools = ({"type": "function", "function": {"name": "bash", "description": "Run.", "parameters": {
        "type": "object", "properties": {"command": {"type": "string", "description": "c"}}, "required": ["command"]}}},)  # fmt: skip
    messages = ({"role": "system", "content": "Read the SPEC.md in full before the first edit."},
                {"role": "user", "content": "Fix merge of the span module as SPEC.md says."})  # fmt: skip

    async def main():
        server = ChatServer(SimulatedModel, NAMES)
        base = await server.start()
        replies = []
        for adapter, name, api_base in ((SimulatedModel("simulated/medium"), "simulated/medium", None),
                                        (LitellmModel("none"), "openai/medium", base)):  # fmt: skip
            request = ModelRequest(model=name, messages=messages, tools=tools, seed=3, api_base=api_base)
            replies.append(await adapter.complete(request))
        await server.close()
        return replies

    embedded, served = asyncio.run(main())
    assert served.origin == embedded.origin == "simulated"
    assert served.message["tool_calls"][0]["function"] == embedded.message["tool_calls"][0]["function"]
    assert served.usage.tokens == embedded.usage.tokens
    assert served.finish == embedded.finish


def test_tools_that_the_provider_runs_are_refused():
    async def main():
        gateway = ModelGateway(
            build_routes({"main": ModelChoice(name="simulated/small")}, lambda c: SimulatedModel(c.name))
        )
        with pytest.raises(ModelFault, match="reach the network"):
            await gateway.complete(call(tools=({"type": "web_search"},)))

    asyncio.run(main())


def test_a_reply_that_was_cut_within_a_character_can_be_written_down():
    text = b'{"choices": [{"message": {"role": "assistant", "content": "so \\ud83d"}}], "usage": {"prompt_tokens": 1}}'
    _, _, _, reply = run((200, {}, text, 0))
    assert json.loads(reply.model_dump_json())["message"]["content"] == "so ?"
