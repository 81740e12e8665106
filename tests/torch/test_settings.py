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
    settings = Settings(lambda_u=32)
    assert [settings.lambda_u_at(epoch) for epoch in (-10, 0, 8, 16, 89)] == [0, 0, 16, 32, 32]
    assert Settings(lambda_u=32, ramp_epochs=0).lambda_u_at(0) == 32


def test_the_share_that_is_forgotten_rises_over_ten_epochs_after_warm_up():
    settings = Settings()
    assert [settings.forgotten_at(epoch, 0.4) for epoch in (0, 5, 10, 99)] == [0, 0.2, 0.4, 0.4]
    assert Settings(forget_epochs=0).forgotten_at(0, 0.4) == 0.4


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
        ("without", ("selection",)),
        ("scan", "yes"),
        ("precision", "half"),
        ("threshold", 1.0),
        ("forget_rate", math.nan),
        ("n_neighbors", 0),
        ("pretrain_epochs", -1),
        ("pretrain_batch_size", 1),
        ("epoch_samples", 0),
        ("record", ("losses",)),
        ("record_last", 0),
        ("ema", 1.0),
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


@pytest.mark.parametrize("method", ["vrlvmix-plus", "dividemix", "scanmix", "coteaching", "ce"])
def test_only_vrlvmix_has_parts_to_leave_out(method):
    with pytest.raises(ValueError, match="`without` leaves out parts of method='vrlvmix'"):
        Settings(method=method, without=("vrlv",), pretrain_epochs=1)


@pytest.mark.parametrize("wanted", [{"method": "scanmix"}, {"scan": "on"}])
def test_semantic_clustering_needs_pre_training(wanted):
    with pytest.raises(ValueError, match="`pretrain_epochs` must be at least 1"):
        Settings(**wanted)
    assert Settings(**wanted, pretrain_epochs=1).uses_scan


def test_what_uses_no_semantic_clustering_needs_no_pre_training():
    assert not Settings(scan="on", without=("scan",)).uses_scan
    assert not Settings(scan="on", method="dividemix").uses_scan
    assert not Settings(scan="off", pretrain_epochs=9).uses_scan


def test_scaling_shortens_every_schedule_and_nothing_else():
    long = Settings(
        warm_up=30, window=5, lr_drop_epoch=150, pretrain_epochs=500, clustering_epochs=50
    )
    short = long.scaled(0.1)
    assert short == dataclasses.replace(
        long,
        epochs=30,
        warm_up=3,
        window=2,
        lr_drop_epoch=15,
        ramp_epochs=2,
        pretrain_epochs=50,
        clustering_epochs=5,
        forget_epochs=1,
    )


def test_scaling_leaves_at_least_an_epoch_of_what_there_was_and_none_of_what_there_was_not():
    short = Settings(epochs=4, warm_up=2, ramp_epochs=0, forget_epochs=0).scaled(0.01)
    assert (short.epochs, short.warm_up, short.clustering_epochs) == (1, 1, 1)
    assert (short.ramp_epochs, short.forget_epochs, short.pretrain_epochs) == (0, 0, 0)


def test_a_scaled_run_still_warms_up_in_proportion_by_default():
    short = Settings(epochs=300).scaled(0.5)
    assert (short.epochs, short.warm_up_epochs, short.vrlv_window) == (150, 5, 4)


@pytest.mark.parametrize("factor", [0.0, 1.5, -1.0, math.nan])
def test_a_scale_is_a_share(factor):
    with pytest.raises(ValueError, match="`factor` must lie in"):
        Settings().scaled(factor)


def test_what_is_recorded_has_one_order_and_no_repetition():
    settings = Settings(record=["features", "batches", "features"])
    assert settings.record == ("batches", "features")


def test_a_second_view_needs_augmentation_and_features_all_samples():
    with pytest.raises(ValueError, match="'second-view' only with `augment`"):
        Settings(record=("second-view",), augment=False)
    with pytest.raises(ValueError, match="cannot have 'features' with `epoch_samples`"):
        Settings(record=("features",), epoch_samples=9)
    Settings(record=("second-view",), epoch_samples=9)
