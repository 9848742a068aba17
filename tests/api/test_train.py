"""Training through the front door: the run is that of `run_recipe`; what goes wrong is told in one line."""

import pytest

import lifeq_jax as lq


def silent(line):
    pass


def test_a_stopped_run_goes_on_and_a_finished_one_is_read(recipe, folder, tmp_path):
    def stop(moment):
        if moment.kind == "checkpoint" and moment.place.stage == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lq.train(recipe, tmp_path / "run", log=silent, watch=stop)
    said = []
    runs = lq.train(recipe, tmp_path / "run", log=said.append)
    assert (runs.finished[0].matrix == lq.read(folder).finished[0].matrix).all()
    assert said[0].startswith("w4a4  task 1/2") and len(said) == 2
    lq.train(recipe, tmp_path / "run", log=said.append)
    assert said[2:] == [f"{tmp_path / 'run'} is finished already; nothing to do"]


def diverging(recipe):
    return recipe.replace({"stages.2.learning_rate": 1e6, "optimizer.schedule": "constant"})


def test_a_run_that_diverges_raises(recipe, tmp_path, nans_pass):
    with pytest.raises(lq.Diverged, match="stage w4a4: "):
        lq.train(diverging(recipe), tmp_path / "run", log=silent)
    with pytest.raises(lq.Diverged, match="^seed 3 diverged: .*; seed 4 diverged: "):
        lq.train(diverging(recipe), tmp_path / "seeds", seeds=(3, 4), log=silent)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"stages.2.weight_bits": 9}, "stage.weight_bits=9 is not a bit-width"),
        ({"stages.3.weight_bits": 4}, "recipe.stages.3 is an unknown key; choose a number from 0 to 2"),
        ({"optimizer.lr": 1.0}, "recipe.optimizer.lr is an unknown key"),
    ],
)
def test_replace_refuses_as_the_command_line_does(recipe, values, text):
    with pytest.raises(lq.Refusal, match=text):
        recipe.replace(values)


def test_an_unknown_argument_of_a_method_is_refused_before_anything_is_written(recipe, tmp_path):
    wrong = recipe.replace({"method": lq.Part("ewc", {"power": 1.0})})
    with pytest.raises(lq.Refusal, match="recipe.method.args.power=1.0 is no argument of 'ewc'"):
        lq.train(wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_kind_of_recipe_is_refused_by_what_takes_it(recipe, tmp_path):
    games, place = lq.load_recipe("blip_rl/minatar_pair"), tmp_path / "run"
    with pytest.raises(lq.Refusal, match="^recipe is a GameRecipe, not a Recipe; lq.train_games learns games"):
        lq.train(games, place, seeds=(0, 1))
    with pytest.raises(
        lq.Refusal, match="^recipe is a str, not a Recipe; .* lq.load_recipe gives a recipe by its name"
    ):
        lq.train("lifequant/resnet20_digits", place)
    with pytest.raises(lq.Refusal, match="^recipe is a str; lq.load_recipe gives a recipe by its name"):
        lq.sweep("lifequant/resnet20_digits", {"method": ["ewc"]}, place)
    with pytest.raises(lq.Refusal, match="^recipe is a Recipe, not a GameRecipe; lq.train trains on images"):
        lq.train_games(recipe, place)
    assert not place.exists()
