"""Suites: built in, of your own, and what is wrong with one said in a sentence."""

from __future__ import annotations

import pytest

from ellora_trust.errors import InputError
from ellora_trust.evaluation.asking.suite import Asked, Suite, speaks_testbed
from ellora_trust.loading import load


def test_the_built_in_suites_are_of_the_models_language(tiny):
    testbed = load("testbed")
    assert speaks_testbed(testbed)
    assert not speaks_testbed(tiny)
    assert [one.name for one in Suite.named("quick", testbed).targets] == ["testbed:trigger"]
    assert [one.name for one in Suite.named("quick", tiny).collateral] == ["types", "aliasing"]


@pytest.mark.parametrize("name", ["quick", "standard", "unlearning", "steering"])
def test_every_built_in_suite_has_loadable_tasks(name, tiny):
    for model in (load("testbed"), tiny):
        for _, asked in Suite.named(name, model).tasks:
            assert asked.load().name == asked.task


def test_a_suite_of_your_own(tmp_path, tiny):
    path = tmp_path / "mine.toml"
    path.write_text(
        'margin = 0.05\nlimit = 10\ntargets = ["testbed:trigger:P1+P2"]\n'
        'collateral = [{ task = "aliasing", limit = 7 }]\ntext = "stdlib"\n'
    )
    suite = Suite.named(path, tiny)
    assert (suite.name, suite.margin, suite.limit, suite.text) == ("mine", 0.05, 10, "stdlib")
    assert suite.tasks == [
        ("target", Asked("testbed", "trigger", ("P1", "P2"))),
        ("collateral", Asked("aliasing", limit=7)),
    ]
    assert suite.targets[0].name == "testbed:trigger:P1+P2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('colateral = ["types"]', "unknown key of a suite 'colateral'.*did you mean 'collateral'"),
        ('collateral = [{ task = "types", lmit = 3 }]', "unknown key of a task 'lmit'.*did you mean 'limit'"),
        ("collateral = [{ limit = 3 }]", "has no name"),
        ('collateral = ["types"]\nmargin = 2', "margin is 2; use a number between 0 and 1"),
        ('collateral = ["types"]\nlimit = 1', "at least 2 questions"),
        ("margin = 0.1", "asks nothing"),
        ("margin = ", "no readable TOML"),
    ],
)
def test_a_wrong_suite_is_one_sentence(text, message, tmp_path):
    path = tmp_path / "suite.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        Suite.from_toml(path)


def test_an_unknown_suite_or_kind_is_refused(tiny):
    with pytest.raises(InputError, match=r"unknown suite 'quik'.*did you mean 'quick'"):
        Suite.named("quik", tiny)
    with pytest.raises(InputError, match="unknown kind of prompt"):
        Asked.parse("testbed:tigger").load()
    with pytest.raises(InputError, match="has no kinds or plants"):
        Asked.parse("types:trigger").load()


def test_a_confidence_that_no_test_of_equivalence_has_is_refused_at_once():
    with pytest.raises(InputError, match=r"confidence is 0\.4; tests of equivalence need more than 0\.5"):
        Suite("x", (Asked("echo"),), (), (), confidence=0.4)
