"""A real server on loopback, asked by OpenAI's own client: every answer has the risk that the probe gives offline."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from tiny_models import make_model

from ellora_trust.errors import InputError
from ellora_trust.hooks import capture
from ellora_trust.positions import Passage
from ellora_trust.serving.access import Access, is_loopback, read_key
from ellora_trust.serving.app import build_app
from ellora_trust.serving.generation import Guarded
from ellora_trust.serving.jobs import Defaults
from ellora_trust.serving.limits import Limits
from ellora_trust.serving.running import address, listening, server_of
from probes import ErrorProbe

PROMPTS = ["def add(a, b):\n    return", "x = 1", "for i in range(10):\n    print(i)\n", "y = x[:]", "é = '日本'", "a"]
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('system comes first') }}{% endif %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


class Gate:
    """An observer that holds the model before a token until it is opened."""

    needs_last = False

    def __init__(self) -> None:
        self.opened, self.held = threading.Event(), threading.Event()
        self.at, self.steps = 0, 0

    def hold(self, at: int = 0) -> None:
        self.at, self.steps = at, 0
        self.opened.clear()
        self.held.clear()

    def start(self, n: int) -> None:
        self.steps = 0

    def begin(self, rows: Any, numbers: Any, n_shared: int) -> None: ...

    def select(self, keep: Any) -> None: ...

    def stops(self, tokens: Any) -> list[int]:
        if self.steps >= self.at:
            self.held.set()
            assert self.opened.wait(10)
        self.steps += 1
        return []

    def end(self, generations: Any) -> None: ...


@pytest.fixture(scope="module")
def model():
    made = make_model("llama")
    made.tokenizer.chat_template = TEMPLATE
    return made


@pytest.fixture(scope="module")
def probe(model) -> ErrorProbe:
    """Fitted on the means of answers that differ in one letter; what it says is not the point here."""
    passages = [Passage(f"x = {i}\n", f"y = {'ab'[i % 2]}{i}") for i in range(30)]
    key = ("resid.1", "answer")
    wrong = [i % 2 if i % 7 else 1 - i % 2 for i in range(30)]
    return ErrorProbe().fit({key: capture(model, passages, *key)[key]}, wrong, np.arange(30))


@pytest.fixture(scope="module")
def gate(model) -> Iterator[Gate]:
    found = Gate()
    found.opened.set()
    model.observers.append(found)
    yield found
    model.observers.remove(found)


class Served:
    """A running server and its parts."""

    def __init__(self, url: str, guarded: Guarded, endpoint: Any):
        self.url, self.guarded, self.endpoint = url, guarded, endpoint

    @property
    def where(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").removesuffix("/v1").split(":")
        return host, int(port)

    def client(self, key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=10)

    def post(self, body: Any, path: str = "completions", **settings: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/{path}", json=body, timeout=10, **settings)

    def raw(self, body: Any, *, length: int | None = None) -> socket.socket:
        """Return a connection on which a request was sent, to be hung up."""
        found = socket.create_connection(self.where, timeout=10)
        sent = json.dumps(body).encode()
        head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        found.sendall(f"{head}Content-Length: {length or len(sent)}\r\n\r\n".encode() + sent)
        return found

    def until(self, busy: int, slots: int | None = None) -> None:
        """Wait until this many requests work or wait, and this many are open."""
        limit = time.monotonic() + 10
        while self.endpoint.worker.busy != busy or slots not in (None, self.endpoint.slots.taken_now):
            assert time.monotonic() < limit, f"{self.endpoint.worker.busy} busy, {self.endpoint.slots.taken_now} open"
            time.sleep(0.002)


@contextmanager
def served(model, probe, defaults: Defaults | None = None, limits: Limits | None = None, key: str | None = None):
    guarded = Guarded(model, probe, defaults or Defaults(name="tiny", max_tokens=8))
    app = build_app(guarded, limits or Limits(), access=Access(key))
    with listening("127.0.0.1", 0) as bound:
        server = server_of(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield Served(address(bound), guarded, app.state.endpoint)
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def server(model, probe, gate) -> Iterator[Served]:
    with served(model, probe) as found:
        yield found


@pytest.fixture(scope="module")
def client(server: Served) -> openai.OpenAI:
    return server.client()


def offline(model, probe: ErrorProbe, prompt: str, tokens: list[int]) -> tuple[float, np.ndarray]:
    """Risk of an answer, and logit of each of its tokens, from one forward over the whole text."""
    found = capture(model, [Passage(prompt, "?", answer_ids=tuple(tokens))], "resid.1", ["answer", "answer.all"])
    each = probe.decision(found["resid.1", "answer.all"][0])
    return float(probe.predict(found["resid.1", "answer"])[0]), each


def test_a_completion_is_the_models_own_with_the_risk_that_the_probe_gives_offline(model, probe, client):
    for prompt in PROMPTS:
        alone = model.generate([prompt], max_new_tokens=8)[0]
        answer = client.completions.create(model="tiny", prompt=prompt, max_tokens=8)
        choice = answer.choices[0]
        risk, logits = offline(model, probe, prompt, alone.tokens[: alone.n_answer])
        assert choice.text == alone.text
        assert choice.finish_reason == {"eos": "stop", "length": "length"}[alone.finish]
        assert choice.risk["value"] == pytest.approx(risk, abs=1e-3)
        assert [token["logit"] for token in choice.risk["tokens"]] == pytest.approx(logits.tolist(), abs=1e-3)
        risks = probe.calibration_(logits).tolist()
        assert [token["risk"] for token in choice.risk["tokens"]] == pytest.approx(risks, abs=1e-3)
        assert choice.risk["readout"] == {"by": "position", "site": "resid.1", "position": "answer"}
        assert choice.risk["threshold"] == 0.5
        assert choice.risk["flagged"] == (choice.risk["value"] >= 0.5)
        assert answer.usage.completion_tokens == len(alone.tokens)
        assert answer.usage.prompt_tokens == len(model.tokenizer(prompt).input_ids)


def test_a_chat_turn_is_put_in_the_models_template(model, probe, client):
    messages: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "x = "}, {"type": "text", "text": "1"}]},
    ]
    prompt = "<system>Be brief.\n<user>x = 1\n<assistant>"
    alone = model.generate([prompt], max_new_tokens=6)[0]
    answer = client.chat.completions.create(model="tiny", messages=messages, max_completion_tokens=6)
    choice = answer.choices[0]
    assert choice.message.content == alone.text
    assert choice.message.role == "assistant"
    assert choice.risk["value"] == pytest.approx(offline(model, probe, prompt, alone.tokens)[0], abs=1e-3)
    assert "that this answer is wrong" in choice.risk["verdict"]


@pytest.mark.parametrize("settings", [{}, {"stop": ["\n", "e", "ab"]}, {"temperature": 1.0, "seed": 3, "n": 3}])
def test_a_streamed_answer_is_the_same_answer(client, settings: dict[str, Any]):
    for prompt in PROMPTS:
        whole = client.completions.create(model="tiny", prompt=prompt, max_tokens=12, **settings)
        texts, tokens = {}, {}
        ends: dict[int, Any] = {}
        for chunk in client.completions.create(model="tiny", prompt=prompt, max_tokens=12, stream=True, **settings):
            for choice in chunk.choices:
                texts[choice.index] = texts.get(choice.index, "") + choice.text
                tokens.setdefault(choice.index, []).extend(choice.risk["tokens"])
                if choice.finish_reason:
                    ends[choice.index] = choice
        for choice in whole.choices:
            end = ends[choice.index]
            assert texts[choice.index] == choice.text
            assert end.finish_reason == choice.finish_reason
            assert end.risk["value"] == pytest.approx(choice.risk["value"], abs=1e-6)
            assert [t["token"] for t in tokens[choice.index]] == [t["token"] for t in choice.risk["tokens"]]
            found = [t["logit"] for t in tokens[choice.index]]
            assert found == pytest.approx([t["logit"] for t in choice.risk["tokens"]], abs=1e-4)


def test_a_stop_string_of_several_tokens_never_shows_in_a_stream(model, client):
    text = model.generate(["x = 1"], max_new_tokens=12)[0].text
    pieces = [chunk.choices[0].text for chunk in _stream(client, max_tokens=12)]
    assert len(pieces) > 3
    stop = text[len(text) // 2 :][:6]
    cut = text[: text.index(stop)]
    assert "".join(chunk.choices[0].text for chunk in _stream(client, max_tokens=12, stop=stop)) == cut


def _stream(client, **settings: Any) -> list[Any]:
    return list(client.completions.create(model="tiny", prompt="x = 1", stream=True, **settings))


def test_a_streamed_chat_turn_opens_with_its_role_and_ends_with_its_usage(client):
    settings: Any = {"model": "tiny", "messages": [{"role": "user", "content": "y = x"}], "max_tokens": 6}
    whole = client.chat.completions.create(**settings)
    chunks = list(client.chat.completions.create(**settings, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert said == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-2].choices[0].risk["value"] == pytest.approx(whole.choices[0].risk["value"], abs=1e-6)


def test_the_raw_stream_is_server_sent_events(server: Served):
    sent = server.post({"prompt": "x = 1", "max_tokens": 3, "stream": True})
    assert sent.headers["content-type"].startswith("text/event-stream")
    events = sent.text.removesuffix("\n\n").split("\n\n")
    assert events[-1] == "data: [DONE]"
    bodies = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    assert len({body["id"] for body in bodies}) == 1
    assert bodies[-1]["choices"][0]["finish_reason"] == "length"


def test_several_prompts_and_several_draws_are_choices_in_order(client):
    settings: Any = {"model": "tiny", "max_tokens": 6, "temperature": 1.0, "seed": 5}
    found = client.completions.create(prompt=PROMPTS[:2], n=2, **settings).choices
    assert [choice.index for choice in found] == [0, 1, 2, 3]
    assert found[0].text != found[1].text
    assert found[0].text == client.completions.create(prompt=PROMPTS[0], **settings).choices[0].text
    again = client.completions.create(prompt=PROMPTS[:2], n=2, **settings).choices
    assert [choice.text for choice in again] == [choice.text for choice in found]


def test_logprobs_are_those_of_the_model(model, client):
    alone = model.generate(["x = 1"], max_new_tokens=5)[0]
    found = client.completions.create(model="tiny", prompt="x = 1", max_tokens=5, logprobs=0).choices[0].logprobs
    assert found.token_logprobs == pytest.approx(alone.logprobs[: alone.n_answer], abs=1e-4)
    assert "".join(found.tokens) == alone.text
    assert [alone.text[at:].startswith(t) for at, t in zip(found.text_offset, found.tokens, strict=True)]
    messages: Any = [{"role": "user", "content": "x = 1"}]
    chat = client.chat.completions.create(model="tiny", messages=messages, max_tokens=5, logprobs=True).choices[0]
    assert len(chat.logprobs.content) == 5
    assert all(one.logprob <= 0 for one in chat.logprobs.content)


def test_a_risky_answer_abstains_and_a_request_may_say_from_where(client):
    settings: Any = {"model": "tiny", "prompt": PROMPTS[2], "max_tokens": 8}
    free = client.completions.create(**settings).choices[0]
    assert free.finish_reason == "length"
    strict = {"ellora_trust": {"policy": "abstain", "threshold": 0.0}}
    for stream in (False, True):
        found = client.completions.create(**settings, stream=stream, extra_body=strict)
        choices = [chunk.choices[0] for chunk in found] if stream else found.choices
        end = choices[-1]
        assert end.finish_reason == "abstained"
        assert free.text.startswith("".join(choice.text for choice in choices))
        assert sum(len(choice.risk["tokens"]) for choice in choices) == 4
        assert "stopped after 4 tokens at risk" in end.risk["reason"]
    lax = {"ellora_trust": {"policy": "abstain", "threshold": 1.0}}
    assert client.completions.create(**settings, extra_body=lax).choices[0].finish_reason == "length"


def test_a_resampled_answer_is_no_riskier_than_the_first_draw(client):
    settings: Any = {"model": "tiny", "prompt": PROMPTS[2], "max_tokens": 6, "temperature": 1.0, "seed": 2}
    first = client.completions.create(**settings).choices[0]
    again = {"ellora_trust": {"policy": "resample", "threshold": 0.0, "samples": 4}}
    best = client.completions.create(**settings, extra_body=again).choices[0]
    assert best.risk["value"] <= first.risk["value"]
    streamed = _stream(client, max_tokens=6, temperature=1.0, seed=2, extra_body=again)
    assert "".join(chunk.choices[0].text for chunk in streamed)


def test_the_served_model_says_what_watches_it(client):
    found = client.models.list().data[0]
    assert found.id == "tiny"
    assert found.risk == {
        "site": "resid.1",
        "position": "answer",
        "readout": "position",
        "policy": "flag",
        "threshold": 0.5,
        "fitted_on": {},
    }
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError, match="model 'gpt-4' is not served here; use 'tiny'"):
        client.models.retrieve("gpt-4")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"prompt": "a", "top_p": 0.5}, "top_p is 0.5, which this server does not support; leave top_p out"),
        ({"prompt": "a", "tools": [{"type": "function"}]}, "leave tools out"),
        ({"prompt": "a", "top_k": 5}, "field 'top_k' is not supported; leave it out"),
        ({"prompt": "a", "ellora_trust": {"polcy": "flag"}}, "field 'ellora_trust.polcy' is not supported"),
        ({"prompt": "a", "ellora_trust": {"threshold": 2}}, "ellora_trust.threshold is 2: input should be less than"),
        ({"prompt": "a", "ellora_trust": {"policy": "ask"}}, "input should be 'flag', 'abstain' or 'resample'"),
        ({"prompt": "a", "ellora_trust": {"policy": "resample"}}, "nothing is drawn at temperature 0"),
        ({"max_tokens": 3}, "field 'prompt' is missing"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": "a\ud800"}, "not JSON in valid Unicode"),
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": []}, "at least 1 item"),
        ({"prompt": "a", "temperature": float("nan")}, "finite number"),
        ({"prompt": "a", "temperature": "hot"}, "temperature is 'hot': input should be a valid number"),
        ({"prompt": "a", "stop": ""}, "stop is ''"),
        ({"prompt": "a", "stop": 3}, "stop is 3: input should be a valid string or input should be a valid list"),
        ({"prompt": "a", "n": 17}, "1 prompts, n=17 and 1 draws make 17 answers; ask for at most 16"),
        ({"prompt": "a", "max_tokens": 1025}, "max_tokens is 1025; this server writes at most 1024"),
        ({"prompt": "a", "max_tokens": 600}, "600 are asked for, but tiny reads at most 512; shorten"),
        ({"prompt": "a b c " * 300}, "shorten the prompt or lower max_tokens"),
        ({"prompt": "a", "logprobs": 3}, "logprobs is 3: input should be 0"),
        ({"prompt": "a", "logprobs": 0, "stream": True}, "logprobs cannot be streamed"),
        ([], "the body is not a JSON object"),
    ],
)
def test_what_is_not_supported_is_one_sentence_in_openais_form(server: Served, body: Any, message: str):
    sent = server.post(None, content=json.dumps(body), headers={"content-type": "application/json"})
    assert sent.status_code == 400
    error = sent.json()["error"]
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"
    assert set(error) == {"message", "type", "param", "code"}


def test_neutral_values_of_unsupported_fields_are_accepted(client):
    neutral: Any = {"top_p": 1, "presence_penalty": 0.0, "user": "me", "logit_bias": {}, "best_of": 1}
    plain = client.completions.create(model="tiny", prompt="x = 1", max_tokens=3)
    assert client.completions.create(model="tiny", prompt="x = 1", max_tokens=3, **neutral).choices == plain.choices


def test_what_is_no_request_of_this_api_is_refused(server: Served, client):
    json_type = {"content-type": "application/json"}
    assert "not JSON" in server.post(None, content=b"{", headers=json_type).json()["error"]["message"]
    assert "not JSON" in server.post(None, content=b"[" * 100_000, headers=json_type).json()["error"]["message"]
    # What a page of another origin can post without being asked.
    assert server.post(None, content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    assert "not served" in server.post({}, "embeddings").json()["error"]["message"]
    assert httpx.get(f"{server.url}/completions").status_code == 405
    # A name that somebody else's DNS points at this machine.
    rebound = server.post({"prompt": "a"}, headers={"host": "evil.example:80"})
    assert rebound.status_code == 403
    with pytest.raises(openai.BadRequestError, match="does not take these messages: system comes first"):
        client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]
        )


def test_a_long_body_is_refused_and_the_connection_stays_usable(server: Served, client):
    with httpx.Client() as http:
        for body in ({"prompt": "a" * 2**20}, {"prompt": "a" * 2**24}):
            sent = http.post(f"{server.url}/completions", json=body)
            assert sent.status_code == 413
            assert "longer than 1048576 bytes" in sent.json()["error"]["message"]
        pieces = http.post(
            f"{server.url}/completions",
            content=(b" " * 2**16 for _ in range(20)),
            headers={"content-type": "application/json"},
        )
        assert pieces.status_code == 413
        assert http.post(f"{server.url}/completions", json={"prompt": "a", "max_tokens": 2}).status_code == 200


def test_a_body_that_does_not_come_frees_its_slot(model, probe, gate):
    with served(model, probe, limits=Limits(body_seconds=1)) as slow:
        with slow.raw({}, length=9) as raw:
            assert b"408" in raw.recv(1000).splitlines()[0]
        slow.until(0, 0)


def test_only_who_has_the_key_is_served(model, probe, gate, tmp_path):
    file = tmp_path / "key"
    file.write_text("geheim-1\n")
    with served(model, probe, key=read_key(file)) as locked:
        for wrong in ("geheim-2", "geheim-", "g", "é"):
            sent = locked.post({"prompt": "a"}, headers={"authorization": f"Bearer {wrong}".encode()})
            assert sent.status_code == 401
        with pytest.raises(openai.AuthenticationError, match="the API key is missing or wrong"):
            locked.client("other").models.list()
        assert httpx.get(f"{locked.url}/models").status_code == 401
        found: Any = locked.client("geheim-1").completions.create(model="tiny", prompt="a", max_tokens=2)
        assert found.choices[0].risk["tokens"]
        assert httpx.get(locked.url.removesuffix("/v1") + "/health").json()["status"] == "ok"


def test_the_key_comes_from_a_file_or_the_environment(tmp_path):
    assert read_key(None, {}) is None
    assert read_key(None, {"ELLORA_TRUST_API_KEY": " k "}) == "k"
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(InputError, match="holds no API key; put one line"):
        read_key(tmp_path / "empty")
    with pytest.raises(InputError, match="cannot be read"):
        read_key(tmp_path / "none")
    assert [is_loopback(host) for host in ("127.0.0.1", "[::1]", "localhost", "0.0.0.0", "x.org")] == [True] * 3 + [
        False
    ] * 2


def test_a_fixed_policy_cannot_be_changed_by_a_request(model, probe, gate):
    defaults = Defaults(name="tiny", policy="abstain", threshold=0.0, max_tokens=8, override=False)
    with served(model, probe, defaults) as fixed:
        found = fixed.client().completions.create(model="tiny", prompt="x = 1").choices[0]
        assert found.finish_reason == "abstained"
        with pytest.raises(openai.PermissionDeniedError, match="fixed on this server"):
            fixed.client().completions.create(
                model="tiny", prompt="x = 1", extra_body={"ellora_trust": {"policy": "flag"}}
            )


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_frees_its_slot_and_stops_its_generation(server: Served, client, gate, stream: bool):
    gate.hold(at=8)
    with server.raw({"prompt": "x = 1", "max_tokens": 200, "stream": stream}) as raw:
        assert gate.held.wait(10)
        assert not stream or b"200 OK" in raw.recv(1000)
    # The model is held inside a token: its request is over, its thread not yet.
    server.until(1, 0)
    gate.opened.set()
    server.until(0, 0)
    assert gate.steps == 9
    after: Any = client.completions.create(model="tiny", prompt="x = 1", max_tokens=5)
    assert len(after.choices[0].risk["tokens"]) == 5


def test_a_client_that_hangs_up_while_it_waits_leaves_the_queue(server: Served, gate):
    gate.hold()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.post, {"prompt": "x = 1", "max_tokens": 2})
        assert gate.held.wait(10)
        with server.raw({"prompt": "y"}):
            server.until(2, 2)
        server.until(1, 1)
        gate.opened.set()
        assert first.result().status_code == 200


def test_a_full_queue_and_too_many_open_requests_are_told_when_to_come_back(model, probe, gate):
    with served(model, probe, limits=Limits(queue=1, concurrent=3)) as small, ThreadPoolExecutor(3) as pool:
        gate.hold()
        body = {"prompt": "x = 1", "max_tokens": 2}
        taken = [pool.submit(small.post, body) for _ in range(2)]
        small.until(2)
        full = small.post(body)
        assert full.status_code == 429
        assert 1 <= int(full.headers["retry-after"]) <= 60
        assert "1 requests wait for the model" in full.json()["error"]["message"]
        with small.endpoint.slots.taken():
            assert "3 requests are open" in small.post(body).json()["error"]["message"]
        gate.opened.set()
        assert [one.result().status_code for one in taken] == [200, 200]
        small.until(0, 0)
        assert small.post(body).status_code == 200


def test_sixteen_clients_at_once_get_the_answers_they_get_alone_or_are_told_to_wait(model, probe, gate):
    asked: list[Any] = [
        {"model": "tiny", "prompt": PROMPTS[i % 6], "max_tokens": 4 + i, "temperature": i % 2, "seed": i}
        for i in range(16)
    ]

    with served(model, probe, limits=Limits(queue=6)) as small:
        client = small.client()
        alone = [client.completions.create(**one).choices[0] for one in asked]

        def ask(i: int) -> Any:
            settings = {**asked[i], "stream": i % 3 == 0}
            try:
                found = client.completions.create(**settings)
            except openai.RateLimitError:
                return None
            choices = [chunk.choices[0] for chunk in found] if settings["stream"] else found.choices
            return "".join(choice.text for choice in choices), choices[-1].risk["value"]

        gate.hold()
        with ThreadPoolExecutor(16) as pool:
            futures = [pool.submit(ask, i) for i in range(16)]
            small.until(7)
            while sum(future.done() for future in futures) < 9:
                time.sleep(0.002)
            gate.opened.set()
            together = [future.result() for future in futures]
        assert sum(one is None for one in together) == 9
        for one, other in zip(alone, together, strict=True):
            if other is not None:
                assert other[0] == one.text
                assert other[1] == pytest.approx(one.risk["value"], abs=1e-4)
        small.until(0, 0)


def test_a_failure_of_the_model_is_told_without_its_reason_and_the_next_request_is_served(
    server: Served, client, model, monkeypatch, caplog
):
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("secret detail")

    settings: Any = {"model": "tiny", "prompt": "x = 1", "max_tokens": 3}
    with monkeypatch.context() as patched:
        patched.setattr(model, "generate", broken, raising=False)
        with pytest.raises(openai.InternalServerError) as told:
            client.completions.create(**settings)
        with pytest.raises(openai.APIError, match="the server failed on this request"):
            list(client.completions.create(**settings, stream=True))
    assert "secret" not in told.value.response.text
    assert "secret detail" in caplog.text
    assert client.completions.create(**settings).choices[0].text


def test_nothing_that_was_asked_or_answered_is_logged(server: Served, client, caplog):
    with caplog.at_level("DEBUG", logger="uvicorn"), caplog.at_level("DEBUG", logger="ellora_trust"):
        found = client.completions.create(model="tiny", prompt="streng geheim", max_tokens=8)
        server.post({"prompt": "streng geheim", "n": "streng geheim"})
    assert "geheim" not in caplog.text
    assert found.choices[0].text not in caplog.text


def test_the_model_is_what_it_was_after_the_server(model, probe, gate):
    before = set(threading.enumerate())
    with served(model, probe) as one:
        one.post({"prompt": "a", "max_tokens": 2})
        assert [thread.name for thread in threading.enumerate() if thread not in before and thread.name[:5] == "model"]
    assert model.observers == [gate]
    assert "generate" not in model.__dict__
    assert not [thread.name for thread in threading.enumerate() if thread not in before and thread.name[:5] == "model"]
