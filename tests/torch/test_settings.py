import dataclasses
import math

import pytest

from noisyselect.torch import Settings


@pytest.mark.parametrize("epochs", [2, 3, 6, 20, 300])
def test_the_default_warm_up_leaves_epochs_to_select_in(epochs):
    settings = Settings(epochs=epochs)
    assert 1 <= settings.warm_up_epochs < epochs


@pytest.mark.parametrize("epochs", [6, 7, 20, 300])
def test_the_default_window_is_filled_when_warm_up_ends(epochs):
    settings = Settings(epochs=epochs)
    assert settings.vrlv_window + 1 <= settings.warm_up_epochs


def test_the_learning_rate_drops_to_a_tenth_at_half_time():
    settings = Settings(epochs=300)
    assert settings.lr_at(149) == 0.02
    assert settings.lr_at(150) == pytest.approx(0.002)
    assert Settings(epochs=300, lr_drop_epoch=7).lr_at(7) == pytest.approx(0.002)


def test_a_run_of_one_epoch_has_the_full_learning_rate():
    assert Settings(epochs=1).lr_at(0) == 0.02


def test_the_unlabelled_weight_rises_over_sixteen_epochs_after_warm_up():
    settings = Settings(warm_up=10, lambda_u=32)
    assert [settings.lambda_u_at(epoch) for epoch in (0, 10, 18, 26, 99)] == [0, 0, 16, 32, 32]
    assert Settings(warm_up=10, lambda_u=32, ramp_epochs=0).lambda_u_at(10) == 32


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method", "magic"),
        ("epochs", 0),
        ("warm_up", 0),
        ("window", 1),
        ("lr", 0.0),
        ("lr", math.nan),
        ("momentum", 1.0),
        ("weight_decay", -1.0),
        ("batch_size", 0),
        ("lambda_u", math.nan),
        ("temperature", 0.0),
        ("alpha", -1.0),
        ("seed", -1),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"`{name}`"):
        Settings(**{name: value})


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().lr = 1.0
