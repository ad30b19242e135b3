"""Places that interpretation chose: what is read, what is refused, and the control that always stands beside them."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_items import SMALL, forgets, keeps
from tiny_models import make_model

from attribution.inside.job import locate
from attribution.inside.patching import Pair
from ellora_trust.errors import InputError
from ellora_trust.report import write_json
from steering.vector import SteeringVector
from unlearning import Where, random_like, unlearn
from unlearning.control import beside_control


@pytest.fixture
def model():
    return make_model("llama", seed=1)


@pytest.fixture
def run(model, tmp_path):
    """A finished run of attribution, as `attribute components --out FOLDER` writes it."""
    found = locate(model, [Pair("x = [1]\ny = ", "x = {1}\ny = ", "list", "dict")])
    write_json(found.to_dict(), tmp_path / "where" / "results.json")
    return tmp_path / "where", found


def vector(model, folder, sites):
    directions = {site: torch.ones(model.arch.d_model) for site in ("resid.0", "resid.1")}
    SteeringVector(directions).chosen(sites, 1.0).save(folder, model=model)
    return folder


def test_the_best_components_are_those_that_attribution_ranks_first(model, run):
    folder, found = run
    one = Where.parse(f"components:{folder}", model)
    assert [str(site) for site in one.sites] == found.best(1)
    three = Where.parse(f"components:{folder}:3", model)
    assert [str(site) for site in three.sites] == found.best(3)
    assert three.text == ",".join(found.best(3))
    assert three.chosen_by == f"components:{folder}:3"
    assert Where.parse(three.text, model).chosen_by is None


def test_the_mlp_of_a_steered_layer_is_the_place_of_a_vector(model, tmp_path):
    where = Where.parse(f"vector:{vector(model, tmp_path / 'v', ['resid.1'])}", model)
    assert where.text == "mlp.1"
    assert where.chosen_by == f"vector:{tmp_path / 'v'}"


def test_adapters_go_where_interpretation_says(model, run):
    folder, found = run
    where = Where.parse(f"lora:2 components:{folder}", model)
    assert (where.rank, where.text) == (2, f"lora:2 {found.best(1)[0]}")
    assert where.chosen_by == f"components:{folder}"


def test_two_heads_of_a_layer_are_both_edited_and_nothing_between_them(model):
    where = Where.parse("head.1.0,head.1.3", model)
    ((name, (parameter, part)),) = where.parameters(model).items()
    assert where.size(model) == 2 * Where.parse("head.1.0", model).size(model)
    edit = unlearn(model, forget=forgets(), retain=keeps(), where=where, budget=SMALL, measure_cost=False)
    assert list(edit.delta) == [name]
    assert part is not None
    inside = int(edit.delta[name][part].count_nonzero())
    assert inside == int(edit.delta[name].count_nonzero()) > 0
    assert where.size(model) < parameter.numel()
    assert Where.parse("head.1.0,attn.1", model).size(model) == Where.parse("attn.1", model).size(model)


def test_what_cannot_be_read_is_one_clear_sentence(model, run, tmp_path):
    folder, found = run
    other = make_model("llama", seed=2)
    vector(model, tmp_path / "unchosen", [])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "results.json").write_text('{"components": 3}')
    n = len(found.found.sites)
    for text, which, message in (
        (f"components:{tmp_path / 'nowhere'}", model, r"holds no results.json; give a folder that 'ellora-trust attri"),
        (f"components:{tmp_path / 'broken'}", model, "is not what 'ellora-trust attribute components' found"),
        (f"components:{folder}", other, r"is of tiny-llama .* is edited; run 'ellora-trust attribute components'"),
        (f"components:{folder}:{n + 1}", model, f"the best {n + 1} of {n} components .* use 1..{n}"),
        (f"components:{folder}:0", model, "the best 0 of"),
        (f"vector:{folder}", model, "is not an artifact"),
        (f"vector:{tmp_path / 'unchosen'}", model, "without a chosen layer; give one that"),
        (f"vector:{tmp_path / 'unchosen'}:2", model, "asks for 2 of one vector"),
        (f"vector:{tmp_path / 'unchosen'}", other, "was fitted on tiny-llama"),
        ("component:x", model, r"cannot read --where .* components:FOLDER:N, vector:FOLDER"),
    ):
        with pytest.raises(InputError, match=message):
            Where.parse(text, which)


def test_the_control_is_made_beside_and_only_where_a_run_chose(model, run, tmp_path):
    made = []

    def make(where, folder):
        made.append((where, folder))
        return unlearn(
            model, forget=forgets(), retain=keeps(), where=where, budget=SMALL, measure_cost=False, out=folder
        )

    place = Where.parse(f"components:{run[0]}:1", model)
    edit, control = beside_control(make, place, model, seed=0, out=tmp_path / "edit")
    assert control is not None
    elsewhere = random_like(place, model, 0)
    assert [where.text for where, _ in made] == [place.text, elsewhere.text]
    assert [folder for _, folder in made] == [tmp_path / "edit", tmp_path / "edit" / "control"]
    assert elsewhere.size(model) == place.size(model)
    assert control.config["where"] == elsewhere.text != edit.config["where"]
    assert {k: v for k, v in control.config.items() if k not in ("where", "stopped", "steps")} == {
        k: v for k, v in edit.config.items() if k not in ("where", "stopped", "steps")
    }
    made.clear()
    assert beside_control(make, Where.parse(place.text, model), model, seed=0)[1] is None
    assert len(made) == 1


def test_an_edit_of_a_chosen_place_cannot_be_made_without_its_control(model, run):
    with pytest.raises(InputError, match=r"needs a control at a random place; use unlearning\.control\.beside_control"):
        unlearn(model, forget=forgets(), retain=keeps(), where=f"components:{run[0]}")


def test_a_place_without_another_like_it_is_refused_before_anything_is_edited(model, tmp_path):
    vector(model, tmp_path / "both", ["resid.0", "resid.1"])
    place = Where.parse(f"vector:{tmp_path / 'both'}", model)
    with pytest.raises(InputError, match="leaves no mlp elsewhere for a random control; name fewer"):
        beside_control(lambda where, folder: pytest.fail("edited"), place, model, seed=0)


def test_results_of_a_run_are_json_of_ranked_sites(run):
    rows = json.loads((run[0] / "results.json").read_text())["components"]
    values = [row["value"] for row in rows]
    assert values == sorted(values, reverse=True)
