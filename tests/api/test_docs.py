"""What docs/api.md says of training and reading runs."""

from tests.test_front_door import executed


def test_the_section_on_one_run_does_what_it_says(folder):
    names = executed("Inside a run", folder=folder)
    assert names["integers"].values.shape == (64, 8) and names["logits"].shape == (64, 10)
    assert names["traces"]["stem/dense/kernel"].codes.shape == (8, 3)


def test_the_section_on_runs_does_what_it_says(recipe, tmp_path):
    names = executed("A recipe, its runs, their numbers", recipe=recipe, runs=tmp_path)
    assert [run.recipe.stages[-1].weight_bits for run in names["found"].finished] == [3, 3]
    assert {path.name for path in tmp_path.iterdir()} == {"ewc", "curves.png", "report"}
