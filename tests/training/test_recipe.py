import dataclasses
import json
import math

import numpy as np
import pytest

import deblurgan
from deblurgan.errors import FileError, InputError
from deblurgan.networks import zoo
from deblurgan.training import recipe as recipes
from deblurgan.training.adversarial import ADVERSARIAL
from deblurgan.training.losses import LOSSES
from deblurgan.training.optimizers import build_optimizer, learning_rate
from deblurgan.training.recipe import Recipe, make, parse_change, read_fields

NAMES = [
    "gan",
    "maxim",
    "nafnet",
    "nafnet-gan",
    "nafnet-small",
    "paper",
    "pix2pix",
    "tutorial",
    "unet",
    "wgan",
    "wgan-gp",
]


def test_these_recipes_come_with_the_package():
    assert recipes.names() == NAMES
    assert all(read_fields(name)["description"].endswith(".") for name in NAMES)


def test_the_tutorials_recipe_is_the_tutorials():
    recipe = make(read_fields("tutorial"))
    assert (recipe.step, recipe.network, recipe.critic, recipe.adversarial) == (
        "tutorial",
        "tutorial",
        "tutorial",
        "wgan",
    )
    assert (recipe.batch_size, recipe.epochs, recipe.critic_updates, recipe.n_images) == (16, 4, 5, -1)
    assert (recipe.losses, recipe.adversarial_weight) == ({"perceptual": 100.0}, 1.0)
    assert (recipe.image_size, recipe.learning_rate, recipe.beta_1, recipe.beta_2) == (256, 1e-4, 0.9, 0.999)
    assert (recipe.preprocess, recipe.augment, recipe.crops_per_picture) == ("crop", "mirror", 1)


def test_the_tutorials_names_of_fields_can_be_changed_too():
    recipe = make(read_fields("tutorial"), [("epoch_num", 9), ("upsampling", "resize"), ("legacy_batchnorm", True)])
    assert (recipe.epochs, recipe.network_options, recipe.critic_options) == (
        9, {"upsampling": "resize"}, {"legacy_batchnorm": True},
    )  # fmt: skip
    with pytest.raises(InputError, match="epoch_num: expected a field of the recipe"):
        make({"epoch_num": 9})  # in a file they would be those of an earlier version, which had other fields


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_names_what_there_is(name):
    recipe = make(read_fields(name))
    zoo.checked_options(recipe.role, recipe.network, recipe.network_options)
    if recipe.critic:
        zoo.checked_options("critic", recipe.critic, recipe.critic_options)
        assert recipe.adversarial in ADVERSARIAL
    assert set(recipe.losses) <= set(LOSSES)
    assert (recipe.steps is None) != (recipe.epochs is None)


def test_the_papers_recipe_is_the_papers():
    recipe = make(read_fields("paper"))
    assert (recipe.learning_rate, recipe.beta_1, recipe.beta_2) == (1e-4, 0.5, 0.999)
    assert (recipe.critic_updates, recipe.gradient_penalty, recipe.losses) == (5, 10.0, {"perceptual": 100.0})
    assert (recipe.epochs, recipe.schedule, recipe.constant_part, recipe.final_learning_rate) == (
        300,
        "linear",
        0.5,
        0,
    )
    assert (recipe.batch_size, recipe.image_size, recipe.downscale) == (1, 256, 2)


def test_the_pix2pix_recipe_is_the_tutorials():
    recipe = make(read_fields("pix2pix"))
    adam = recipe.optimizer, recipe.learning_rate, recipe.beta_1, recipe.beta_2, recipe.epsilon, recipe.schedule
    assert adam == ("adam", 2e-4, 0.5, 0.999, 1e-7, "constant")
    assert (recipe.adversarial, recipe.adversarial_weight, recipe.losses) == ("gan", 1.0, {"l1": 100.0})
    assert (recipe.epochs, recipe.batch_size, recipe.image_size, recipe.augment) == (150, 1, 256, "mirror")
    assert (recipe.conditional, recipe.simultaneous, recipe.keep_every) == (True, True, 20)
    assert (recipe.resize, recipe.val_resize) == (286, 256)
    assert set(recipe.tags.values()) == {"gen_total_loss", "gen_gan_loss", "gen_l1_loss", "disc_loss"}
    assert list(recipe.panels.values())[:3] == ["Input Image", "Ground Truth", "Predicted Image"]


def test_maxims_recipe_is_its_papers():
    recipe = make(read_fields("maxim"))
    assert recipe.losses == {"charbonnier": 1.0, "frequency": 0.1}
    assert (recipe.optimizer, recipe.learning_rate, recipe.final_learning_rate) == ("adam", 2e-4, 1e-7)
    assert (recipe.schedule, recipe.image_size, recipe.critic) == ("cosine", 256, None)
    assert zoo.reductions(recipe.network, recipe.network_options) == (1, 2, 4) * 3


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_into_a_run_is_the_recipe_again(name, tmp_path):
    recipe = make(read_fields(name), [("sources", [{"kind": "pairs", "folder": "größe"}])])
    recipes.write(recipe, tmp_path)
    assert recipes.read_run(tmp_path) == recipe
    assert make(read_fields(str(tmp_path / "recipe.json"))) == recipe
    assert set(json.loads((tmp_path / "recipe.json").read_text())) == {f.name for f in dataclasses.fields(Recipe)}


def test_changes_are_made_in_turn():
    fields = read_fields("nafnet")
    recipe = make(
        fields,
        map(parse_change, ["ema=0.5", "ema=0.25", "losses.l1=2", "losses.psnr=null", "network_options.width=16"]),
    )
    assert (recipe.ema, recipe.losses) == (0.25, {"l1": 2.0})
    assert recipe.network_options == {**fields["network_options"], "width": 16}
    assert make(fields, [("epochs", 3)]).steps is None
    assert make({"epochs": 3}, [("steps", 7)]).epochs is None
    assert make({}, [parse_change("network=unet")]).network == "unet"
    assert type(make({"learning_rate": 1}).learning_rate) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("learing_rate=1", "learing_rate: expected a field of the recipe; did you mean learning_rate?"),
        ("qqq=1", "qqq: expected a field of the recipe"),
        ("batch_size.x=1", "batch_size.x: expected a field of the recipe; batch_size has no entries"),
        ("batch_size=many", "batch_size: expected a whole number, received 'many'"),
        ("batch_size=0", "batch_size: expected at least 1, received 0"),
        ("learning_rate=-1", "learning_rate: expected a positive number, received -1.0"),
        ("learning_rate=NaN", "learning_rate: expected a number, received nan"),
        ("seed=4294967296", "seed: expected 0 to 4294967295, received 4294967296"),
        ("save_every=-3", "save_every: expected at least 0, received -3"),
        ("augment=turn", "augment: expected one of True, False, all, mirror, none, received 'turn'"),
        ("precision=half", "precision: expected one of auto, float32, bfloat16, float16, received 'half'"),
        ("critic_options.ndf=3", "critic_options: expected none without a critic, received {'ndf': 3}"),
        ("sources=3", "sources: expected a list of objects, received 3"),
        ("ema=2", "ema: expected 0 to 1, received 2.0"),
        ("schedule=cubic", "schedule: expected one of constant, linear, cosine, received 'cubic'"),
        ("output_channels=0", "output_channels: expected at least 1, received 0"),
        ("val_resize=10", "val_resize: expected at least 11, received 10"),
        (
            "critic=patchgan",
            "critic, adversarial: expected both or neither, received patchgan and no adversarial loss",
        ),
        ("accumulate=3", "accumulate: expected a divisor of batch_size (8), received 3"),
        ("reduce_lr=2", "reduce_lr: expected a constant schedule without warmup, which could be reduced"),
        ("losses.l1=many", "losses: expected a number for each name, received {'psnr': 1.0, 'l1': 'many'}"),
        ("losses.psnr=null", "losses: expected at least one without a critic, received none"),
        ("simultaneous=true", "simultaneous: expected a critic with critic_updates=1, received none with 1"),
        ("epsilon=0", "epsilon: expected a positive number, received 0.0"),
        (
            "panels.shar=x",
            "panels: expected some of blurred, restored, sharp, received shar; did you mean sharp?",
        ),
        ("panels.critic=x", "panels: expected some of blurred, restored, sharp, received critic"),
        ("tags.l1=3", "tags: expected a word for each name, received {'l1': 3}"),
        ("loss_limit=true", "loss_limit: expected a number, received True"),
        ("teacher=3", "teacher: expected a word or null, received 3"),
        ("teacher_weight=-1", "teacher_weight: expected at least 0, received -1.0"),
        ("teacher_options.stages=1", "teacher_options: expected none without a teacher, received {'stages': 1}"),
        ("sharp_weight=0", "sharp_weight: expected a positive number without a teacher, received 0.0"),
        ("noequals", "set: expected FIELD=VALUE, received 'noequals'"),
    ],
)
def test_a_change_that_cannot_be_is_refused(change, message):
    with pytest.raises(InputError, match=f"^{message.translate({ord(c): chr(92) + c for c in '.?(){}[]'})}"):
        make(read_fields("nafnet"), [parse_change(change)])


def test_a_teacher_stands_beside_the_sharp_pictures_or_for_them():
    fields = {"teacher": "maxim-gopro", "teacher_options": {"stages": 1}, "sharp_weight": 0}
    recipe = make(fields)
    assert (recipe.teacher_weight, recipe.sharp_weight, make({}).teacher) == (1.0, 0.0, None)
    with pytest.raises(InputError, match="sharp_weight, teacher_weight: expected a positive number for one at least"):
        make(fields, [("teacher_weight", 0)])


def test_programs_train_by_the_name_of_a_recipe_and_fields(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("deblurgan.training.trainer.train", lambda *given, **_: asked.append(given))
    deblurgan.train("nafnet", tmp_path / "pairs", "run", steps=3)
    deblurgan.train("nafnet", ["a", "sharp=b,gamma=2.2"], "run", losses={"l1": 1})
    (first, run), (second, _) = asked
    pairs = {"folder": str(tmp_path / "pairs")}
    assert run == "run"
    assert first == make(read_fields("nafnet"), [("sources", [pairs]), ("steps", 3)])
    assert (first.steps, first.epochs) == (3, None)
    assert second.sources == [{"folder": "a"}, {"kind": "sharp", "folder": "b", "gamma": 2.2}]
    assert second.losses == {"l1": 1}
    with pytest.raises(InputError, match=r"setps: expected a field of the recipe; did you mean steps\?"):
        deblurgan.train("nafnet", "a", "run", setps=3)


def test_recipes_that_are_none_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"recipe: expected .* received nafnt; did you mean nafnet\?"):
        read_fields("nafnt")
    with pytest.raises(FileError, match="expected a recipe: No such file"):
        read_fields(str(tmp_path / "missing.json"))
    for text in ("{", "[]"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(FileError, match=r"bad.json: expected a recipe"):
            read_fields(str(tmp_path / "bad.json"))
    with pytest.raises(FileError, match=r"expected the folder of a training run, found no recipe\.json"):
        recipes.read_run(tmp_path)


def test_a_run_keeps_what_it_was_started_with():
    started = make({"steps": 10, "schedule": "cosine"})
    recipes.check_resumable(dataclasses.replace(started, val_dir="x", keep_checkpoints=9), started, "run")
    with pytest.raises(InputError, match="batch_size: expected 8, which the run run was started with, received 4"):
        recipes.check_resumable(dataclasses.replace(started, batch_size=4), started, "run")
    with pytest.raises(InputError, match=r"steps: expected 10, .* received 20; its cosine schedule depends on it"):
        recipes.check_resumable(dataclasses.replace(started, steps=20), started, "run")
    constant = dataclasses.replace(started, schedule="constant")
    recipes.check_resumable(dataclasses.replace(constant, steps=20), constant, "run")


# Learning rates


def rates(recipe, steps):
    schedule = learning_rate(recipe, recipe.learning_rate, steps)
    return [float(schedule(step)) for step in range(steps + 1)]


def test_a_constant_rate_is_a_number():
    assert learning_rate(Recipe(learning_rate=0.3), 0.3, 10) == 0.3


def test_the_linear_schedule_is_constant_and_then_falls():
    got = rates(make({"schedule": "linear", "learning_rate": 1.0, "constant_part": 0.5}), 10)
    assert got == pytest.approx([1] * 6 + [0.8, 0.6, 0.4, 0.2, 0.0], abs=1e-6)


def test_the_cosine_schedule_with_a_warmup():
    recipe = make({"schedule": "cosine", "learning_rate": 1.0, "final_learning_rate": 0.1, "warmup_steps": 4})
    cosine = [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - 4) / 6)) for step in range(4, 11)]
    assert rates(recipe, 10) == pytest.approx([0.25, 0.5, 0.75, 1.0, *cosine], abs=1e-6)


def test_the_critics_schedule_covers_its_own_updates():
    recipe = make({"schedule": "linear", "learning_rate": 1.0, "critic_updates": 5, "critic_learning_rate": 2.0})
    critic = build_optimizer(recipe, 10, "float32", critic=True)
    critic.build([])
    critic.iterations.assign(50 * 3 // 4)
    assert float(np.asarray(critic.learning_rate)) == pytest.approx(2.0 * 0.52, rel=1e-2)
    assert float(np.asarray(build_optimizer(recipe, 10, "float32").learning_rate)) == 1.0


def test_optimizers_by_name():
    assert build_optimizer(Recipe(optimizer="adamw", weight_decay=0.1), 1, "float32").weight_decay == 0.1
    assert build_optimizer(Recipe(optimizer="adam"), 1, "float16").inner_optimizer.beta_1 == 0.9
    assert build_optimizer(Recipe(epsilon=1e-7), 1, "float32").epsilon == 1e-7
    with pytest.raises(InputError, match="weight_decay: expected 0 with adam"):
        build_optimizer(Recipe(weight_decay=0.1), 1, "float32")


@pytest.mark.parametrize(
    ("channels", "losses", "teacher"),
    [((3, 1), "perceptual", None), ((1, 3), "l1", "some"), ((3, 1), "l1", "some")],
)
def test_what_sees_colours_needs_three_channels(channels, losses, teacher):
    fields = {
        "losses": {losses: 1.0},
        "teacher": teacher,
        "input_channels": channels[0],
        "output_channels": channels[1],
    }
    with pytest.raises(InputError, match=f"expected 3 with {'teacher' if teacher else 'perceptual'}, received"):
        make(fields)
    make({"losses": {"perceptual": 1.0}, "input_channels": 1})
