"""`ellora-trust serve` as far as the first request, and the parts of the endpoint that need no server."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from tiny_probes import made_probe
from typer.testing import CliRunner

from ellora_trust.cli.serve import serve
from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.loading import load
from ellora_trust.serving import extra, running
from ellora_trust.serving.jobs import Choice, HungUp, Job
from ellora_trust.serving.limits import Limits
from ellora_trust.serving.refusals import Refusal
from ellora_trust.serving.stream import held_back
from ellora_trust.serving.worker import Ticket, Worker

app = typer.Typer()
app.command()(serve)


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A probe saved for the model in `tiny_folder`."""
    made_probe(load(tiny_folder)).save(tmp_path / "probe", model=load(tiny_folder), data={"task": "aliasing", "n": 40})
    return tmp_path / "probe"


@pytest.fixture
def served(monkeypatch) -> list:
    """What would be served, without a server."""
    found: list = []
    monkeypatch.setattr(running, "serve", lambda app, bound: found.append(app))
    return found


def go(*args: object) -> tuple[str, str]:
    """Run the command in this process and return what it printed, or raise what it raises."""
    done = CliRunner().invoke(app, [str(a) for a in args])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout, done.stderr


def test_the_command_says_where_it_listens_and_hides_the_models_path(folder, tiny_folder, served):
    out, _ = go("--model", tiny_folder, "--probe", folder, "--port", 0, "--policy", "abstain", "--json")
    said = json.loads(out)
    assert said["base_url"].startswith("http://127.0.0.1:")
    assert said["model"] == tiny_folder.name
    assert (said["policy"], said["threshold"]) == ("abstain", 0.5)
    assert served[0].state.endpoint.guarded.name == tiny_folder.name


def test_a_server_that_others_reach_without_a_key_warns(folder, tiny_folder, served, tmp_path, monkeypatch):
    monkeypatch.delenv("ELLORA_TRUST_API_KEY", raising=False)
    args = ("--model", tiny_folder, "--probe", folder, "--port", 0)
    assert "WARNING: everybody who reaches this address" in go(*args, "--host", "0.0.0.0")[1]
    (tmp_path / "key").write_text("k\n")
    assert "WARNING" not in go(*args, "--host", "0.0.0.0", "--api-key-file", tmp_path / "key")[1]
    assert "WARNING" not in go(*args)[1]


def test_what_does_not_fit_is_a_sentence_before_anything_listens(folder, tiny_folder, served):
    args = ("--model", tiny_folder, "--probe", folder, "--port", 0)
    with pytest.raises(InputError, match=r"threshold is 3\.0; it is a risk"):
        go(*args, "--threshold", 3)
    with pytest.raises(InputError, match="unknown policy 'ask'"):
        go(*args, "--policy", "ask")
    with pytest.raises(InputError, match="running maximum has no calibration"):
        go(*args, "--readout", "running_max")
    with pytest.raises(InputError, match=r"port is 70000; use 0\.\.65535"):
        go("--port", 70000)
    with pytest.raises(InputError, match="limit queue is -1; it must be at least 0"):
        go("--queue", -1)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(EnvironmentProblem, match="choose another"):
        go("--port", taken.getsockname()[1])
    assert not served


def test_a_missing_extra_is_one_sentence(monkeypatch):
    monkeypatch.setattr(extra, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"not installed here; pip install 'ellora-trust\[serve\]'$"):
        go()


def test_the_package_imports_without_the_extra():
    code = """
import importlib, pkgutil, sys
for name in ("fastapi", "starlette", "uvicorn"):
    sys.modules[name] = None
import ellora_trust.cli.serve
assert "torch" not in sys.modules and "pydantic" not in sys.modules
import ellora_trust.serving as package
for module in pkgutil.iter_modules(package.__path__):
    importlib.import_module(f"ellora_trust.serving.{module.name}")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@given(st.text("ab\n", max_size=8), st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3))
def test_only_what_could_begin_a_stop_string_is_held_back(text: str, stops: list[str]):
    beginnings = {stop[:n] for stop in stops for n in range(1, len(stop))}
    expected = max((n for n in range(len(text) + 1) if text[len(text) - n :] in beginnings), default=0)
    assert held_back(text, stops) == expected


def test_answers_do_not_wait_for_acknowledgements():
    with running.listening("127.0.0.1", 0) as bound, socket.create_connection(bound.getsockname()):
        accepted, _ = bound.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_worker_that_closes_stops_what_runs_and_drops_what_waits():
    running_now = threading.Event()

    def work(job: Job, ticket: Ticket) -> list[Choice]:
        running_now.set()
        while not ticket.gone:
            time.sleep(0.001)
        raise HungUp

    async def go() -> None:
        worker = Worker(work, queue=1)
        job = Job(("x",), 1, 1)
        with worker.ticket(job) as first, worker.ticket(job) as second:
            assert await asyncio.to_thread(running_now.wait, 10)
            await asyncio.to_thread(worker.close)
            for ticket in (first, second):
                assert [event async for event in ticket.events()] == []
                with pytest.raises(Refusal, match="the server stops") as told:
                    ticket.result()
                assert told.value.status == 503
            # A prompt that nobody will answer is not kept.
            assert second.job is None
        assert worker.busy == 0

    asyncio.run(go())


def test_limits_are_positive():
    with pytest.raises(InputError, match="limit answers is 0; it must be at least 1"):
        Limits(answers=0)
