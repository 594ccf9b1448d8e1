import pytest

from deblurgan.training.troubles import troubles


def history(count=10, **values):
    """Rows of a training that goes well, but for these values: numbers, or functions of the epoch."""
    well = {
        "d_loss": 1.3,
        "g_loss": 0.8,
        "d_acc_real": 0.6,
        "d_acc_fake": 0.6,
        "val_distance": 0.1,
        "val_diversity": 1,
    }
    rows = [{"epoch": 0, "val_distance": 1.0, "val_diversity": 0.01}]
    for epoch in range(1, count + 1):
        now = {name: value(epoch) if callable(value) else value for name, value in (well | values).items()}
        rows.append({"epoch": epoch, **{name: value for name, value in now.items() if value is not None}})
    return rows


WASSERSTEIN = {"d_acc_real": None, "d_acc_fake": None}


@pytest.mark.parametrize(
    ("values", "name", "words"),
    [
        ({"val_diversity": 0.2}, "collapse", "samples differ only 20% as much"),
        ({"d_acc_real": 0.99, "d_acc_fake": 1, "g_loss": 6}, "won", "tells 99% of real and generated pictures apart"),
        ({"g_loss": lambda epoch: 2 + epoch % 2 * 3}, "swing", "g_loss swings widely"),
        ({"d_loss": lambda epoch: (-1) ** epoch, **WASSERSTEIN}, "swing", "d_loss swings widely"),
        (
            {"g_loss": lambda epoch: 0.5 + epoch / 10, "val_distance": lambda epoch: 0.5 / epoch},
            "uninformative",
            "g_loss rose from 0.80 to 1.50 while samples came nearer",
        ),
    ],
)
def test_each_trouble_is_told_alone(values, name, words):
    found = troubles(history(**values))
    assert list(found) == [name]
    assert words in found[name]
    assert "\n" not in found[name]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"g_loss": lambda epoch: 0.8 + 0.05 * (-1) ** epoch},
        {"d_acc_real": 0.99, "d_acc_fake": 0.99},
        {"g_loss": lambda epoch: 2 / epoch, "val_distance": lambda epoch: 0.5 / epoch},
        {"g_loss": lambda epoch: 0.5 + epoch / 10},
        WASSERSTEIN,
    ],
)
def test_a_training_that_goes_well_is_left_alone(values):
    assert troubles(history(**values)) == {}


def test_the_first_epochs_say_nothing():
    assert troubles(history(count=2, val_diversity=0)) == {}
    assert troubles(history(count=0)) == {}
