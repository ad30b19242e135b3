"""lm-evaluation-harness beside our own tasks: the same numbers as by its own wrapper, paired item by item."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from textwrap import dedent

import datasets
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import manager
from tiny_models import make_model

from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.evaluation.asking.cache import ItemCache
from ellora_trust.evaluation.asking.harness import Harness, _items
from ellora_trust.evaluation.asking.harness_model import HarnessModel
from ellora_trust.evaluation.asking.suite import Suite
from ellora_trust.evaluation.comparing import compare
from ellora_trust.evaluation.shown.page import page
from ellora_trust.hooks import capture
from ellora_trust.intervention import WeightChange
from ellora_trust.positions import Passage
from steering import SteeringVector

PAIRS = [
    ("def add(a, b):", " return a + b"),
    ("x = [1,", " 2]"),
    ("for i in ", "range(3):\n    print(i)"),
    ("", "x = 1"),
]
WEIGHT = "model.layers.0.mlp.down_proj.weight"


def requests(kind: str, arguments: list[tuple]) -> list[Instance]:
    return [Instance(kind, {}, one, i) for i, one in enumerate(arguments)]  # pyright: ignore[reportArgumentType]


@pytest.fixture
def ours(tiny) -> HarnessModel:
    return HarnessModel(tiny, ItemCache(None))


@pytest.fixture
def theirs(tiny) -> HFLM:
    return HFLM(pretrained=tiny.hf, tokenizer=tiny.tokenizer, batch_size=2, device="cpu")


def test_likelihoods_are_those_of_the_harness_own_wrapper(ours, theirs):
    asked = requests("loglikelihood", PAIRS)
    for one, other in zip(ours.loglikelihood(asked), theirs.loglikelihood(asked), strict=True):
        assert one[0] == pytest.approx(other[0], abs=1e-3)
        assert one[1] == other[1]


def test_what_the_model_would_say_itself_is_greedy(ours, tiny):
    (said,) = tiny.generate(["def add("], max_new_tokens=4)
    prompt = ours.tok_encode("def add(")
    pairs = [(None, prompt, said.tokens), (None, prompt, [*said.tokens[::-1], 5])]
    (value, greedy), (_, other) = ours._loglikelihood_tokens(pairs)
    assert greedy
    assert not other
    assert value == pytest.approx(sum(said.logprobs), abs=1e-4)


def test_whole_texts_longer_than_the_context_are_read_as_by_the_wrapper():
    model = make_model("llama")
    model.hf.config.max_position_embeddings = 24
    ours, theirs = (
        HarnessModel(model, ItemCache(None)),
        HFLM(pretrained=model.hf, tokenizer=model.tokenizer, device="cpu"),
    )
    asked = requests("loglikelihood_rolling", [("def add(a, b):\n    return a + b\n" * 3,), ("x = 1",)])
    assert len(model.tokenizer(asked[0].args[0]).input_ids) > 30
    theirs._max_length = model.max_length - 1  # ours reads the last token too
    assert ours.loglikelihood_rolling(asked) == pytest.approx(theirs.loglikelihood_rolling(asked), abs=1e-2)


def test_generations_are_those_of_the_harness_own_wrapper(ours, theirs):
    kwargs = {"until": ["\n"], "max_gen_toks": 8, "do_sample": False}
    asked = requests("generate_until", [(prompt, kwargs) for prompt, _ in PAIRS if prompt])
    assert ours.generate_until(asked) == theirs.generate_until(asked)
    with pytest.raises(InputError, match="answers with 'top_p'"):
        ours.generate_until(requests("generate_until", [("x", {"do_sample": True, "top_p": 0.9})]))
    with pytest.raises(InputError, match="answers with 'num_beams'"):
        ours.generate_until(requests("generate_until", [("x", {"num_beams": 4})]))


def test_a_vector_at_the_prompts_end_acts_there_and_not_at_the_continuations(tiny, ours, theirs):
    seen = capture(tiny, [Passage("x = 1"), Passage("y = 2")], "resid.0", ["prompt_end"])
    vector = SteeringVector.from_activations(seen).steering(strength=20.0)
    asked = requests("loglikelihood", PAIRS[:2])
    plain = [value for value, _ in ours.loglikelihood(asked)]
    with vector.apply(tiny):
        expected = [float(one.sum) for one in tiny.score(*map(list, zip(*PAIRS[:2], strict=True)))]
        steered = [value for value, _ in ours.loglikelihood(asked)]
        by_wrapper = [value for value, _ in theirs.loglikelihood(asked)]
    assert steered == pytest.approx(expected, abs=1e-3)
    assert steered != pytest.approx(plain, abs=1e-2)
    assert steered != pytest.approx(by_wrapper, abs=1e-2)


def write_tasks(folder: Path, n: int = 30) -> Path:
    """A task of choices and one of answers, with their data beside."""
    rows = [
        {
            "q": f"def f{i}(x):\n    return x +",
            "choices": [f" {i}", " y", " [1, 2]"],
            "label": i % 3,
            "group": f"g{i // 2}",
        }
        for i in range(n)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    data = f"dataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {folder / 'items.jsonl'}\ntest_split: test\n"
    choice = """\
        task: tiny_choice
        output_type: multiple_choice
        doc_to_text: q
        doc_to_choice: choices
        doc_to_target: label
        target_delimiter: ""
        metric_list:
          - metric: acc_norm
          - metric: acc
    """
    answer = """\
        task: tiny_answer
        output_type: generate_until
        doc_to_text: q
        doc_to_target: "{{choices[1]}}"
        generation_kwargs: {until: ["\\n"], max_gen_toks: 4, do_sample: false}
        metric_list:
          - metric: exact_match
    """
    whole = """\
        task: tiny_text
        output_type: loglikelihood_rolling
        doc_to_text: ""
        doc_to_target: q
        metric_list:
          - metric: bits_per_byte
    """
    for text in (choice, answer, whole):
        text = dedent(text)
        (folder / f"{text.split()[1]}.yaml").write_text(text + data)
    return folder


@pytest.fixture
def tasks(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return write_tasks(tmp_path)


def suite(tasks: Path, *names: str) -> Suite:
    return Suite("standard tasks", limit=30, noise=0, margin=0.1, lm_eval=names, lm_eval_include=str(tasks))


def test_items_of_the_harness_are_paired_like_our_own(tiny, tasks):
    changed = WeightChange({WEIGHT: tiny.hf.state_dict()[WEIGHT] * -9})
    asked = suite(tasks, "tiny_choice", "tiny_answer")
    found = compare(tiny, {"A/A": "nothing", "changed": changed}, asked, noise=False)
    same, other = found.candidates
    assert sorted(one.task for one in same.tasks) == ["lm-eval:tiny_answer (exact_match)", "lm-eval:tiny_choice (acc)"]
    assert all((one.paired.fixed, one.paired.broken, one.role) == (0, 0, "collateral") for one in same.tasks)
    choice = next(one for one in other.tasks if "choice" in one.task)
    assert (choice.n, choice.n_groups) == (30, 15)
    assert choice.paired.fixed + choice.paired.broken == len(choice.flips) > 0
    assert choice.flips[0].before in (" y", " [1, 2]") or choice.flips[0].before[1:].isdigit()
    # Among three choices a probability is known, of a generated text it is not.
    answer = next(one for one in other.tasks if "answer" in one.task)
    assert [len(one.calibration) for one in (choice, answer)] == [1, 0]
    assert found.provenance["lm-eval version"]
    assert "lm-eval:tiny_choice (acc)" in page(found).to_markdown()


def test_accuracy_is_what_the_harness_reports_through_its_own_wrapper(tiny, tasks, theirs):
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    expected = simple_evaluate(theirs, tasks=["tiny_choice"], task_manager=manager, bootstrap_iters=0)
    assert expected is not None
    (answers,) = Harness(["tiny_choice"], include=tasks).read(tiny, ItemCache(None))
    assert sum(one.right for one in answers) / 30 == pytest.approx(expected["results"]["tiny_choice"]["acc,none"])


def test_what_was_asked_once_is_not_asked_again(tiny, tasks, tmp_path, monkeypatch):
    harness, cache = Harness(["tiny_choice", "tiny_answer"], include=tasks), ItemCache("state", tmp_path / "items")
    first = harness.read(tiny, cache)
    import ellora_trust.evaluation.asking.harness_model as module

    monkeypatch.setattr(module, "forward", None)
    monkeypatch.setattr(module, "run", None)
    again = harness.read(tiny, ItemCache("state", tmp_path / "items"))
    assert [[one.text for one in task] for task in again] == [[one.text for one in task] for task in first]


def test_a_task_without_right_and_wrong_is_refused(tiny, tasks):
    with pytest.raises(InputError, match="says of no item whether it is right"):
        Harness(["tiny_text"], include=tasks).read(tiny, ItemCache(None))


def test_a_candidate_is_judged_by_the_metric_that_the_base_was_judged_by():
    def samples(f1, found):
        row = {"filter": "none", "metrics": ["f1", "found"], "doc": {}, "doc_hash": "h", "arguments": [("x", "y")]}
        more = {"target": "1", "filtered_resps": ["1"]}
        return [{**row, **more, "doc_id": n, "f1": f1[n], "found": found[n]} for n in range(2)]

    metrics: dict[str, str] = {}
    question, answers = _items("t", samples([1.0, 0.0], [0, 0]), metrics)
    assert question.name == "lm-eval:t (f1)"
    assert [one.right for one in answers] == [True, False]
    # f1 is no longer right or wrong; `found` would be, but says something else.
    with pytest.raises(InputError, match="says of no item whether it is right"):
        _items("t", samples([0.5, 0.0], [1, 1]), metrics)


def test_a_task_whose_data_must_be_downloaded_says_so_in_one_sentence(tiny, tasks, monkeypatch):
    def offline(*args, **kwargs):
        raise ConnectionError("Couldn't reach 'Rowan/hellaswag' on the Hub (LocalEntryNotFoundError)")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(EnvironmentProblem, match=r"could not be loaded.*Hugging Face hub.*--lm-eval-include"):
        Harness(["tiny_choice"], include=tasks).read(tiny, ItemCache(None))


def test_an_unknown_task_and_folder_are_said(tiny, tasks, tmp_path, monkeypatch):
    # One of the harness's own folders: reading all of its 14,000 files takes ten seconds.
    shutil.copytree(Path(manager.__file__).parent / "arc", tmp_path / "own" / "arc")
    monkeypatch.setattr(manager, "__file__", str(tmp_path / "own" / "manager.py"))
    for given, meant in (("tiny_choise", "tiny_choice"), ("arc_esay", "arc_easy")):
        with pytest.raises(InputError, match=f"unknown lm-eval task '{given}'.*did you mean '{meant}'"):
            Harness([given], include=tasks).read(tiny, ItemCache(None))
    with pytest.raises(InputError, match="is no folder"):
        Harness(["tiny_choice"], include=tasks / "nowhere")


def test_tasks_that_run_programs_are_refused(tiny, tasks):
    harness = Harness(["tiny_answer"], include=tasks)
    for task in harness._loaded["tasks"].values():
        task.UNSAFE_CODE = True
    with pytest.raises(InputError, match="outside any sandbox"):
        harness.read(tiny, ItemCache(None))


def test_another_seed_of_torch_is_left_alone(tiny, tasks):
    before = torch.get_rng_state()
    Harness(["tiny_choice"], include=tasks, limit=4).read(tiny, ItemCache(None))
    assert torch.equal(torch.get_rng_state(), before)
