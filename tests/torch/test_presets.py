"""Every cell of the paper's tables is a preset, and a user's own file is checked by name."""

from dataclasses import fields

import pytest

from noisyselect.torch import Settings
from noisyselect.torch.presets import load_preset, preset_names, preset_text

# Typed from the papers: lambda_u of DivideMix's, and where semantic clustering is on.
SYMMETRIC = {
    ("cifar10", 20): (0, "auto"),
    ("cifar10", 50): (25, "auto"),
    ("cifar10", 80): (25, "on"),
    ("cifar10", 90): (50, "on"),
    ("cifar100", 20): (25, "auto"),
    ("cifar100", 50): (150, "auto"),
    ("cifar100", 80): (150, "on"),
    ("cifar100", 90): (150, "on"),
}
ASYMMETRIC = {
    ("cifar10", 10): (0, "off"),
    ("cifar10", 30): (0, "off"),
    ("cifar10", 40): (0, "off"),
    ("cifar100", 10): (25, "off"),
    ("cifar100", 30): (25, "off"),
    ("cifar100", 40): (25, "on"),
}
CELLS = {
    f"{data}-{noise}{rate}": (data, noise, rate / 100, *values)
    for noise, table in (("sym", SYMMETRIC), ("asym", ASYMMETRIC))
    for (data, rate), values in table.items()
}
# Not of the method (seed, what is recorded), or None for all but Clothing1M.
NOT_IN_EVERY_FILE = {
    *("seed", "record", "record_last"),
    *("weights", "forget_rate", "epoch_samples"),
}


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_of_tables_1_and_2_has_the_values_of_the_papers(name):
    preset = load_preset(name)
    data, noise, rate, lambda_u, scan = CELLS[name]
    assert preset.data == {"data": data, "noise": noise, "noise_rate": rate}
    settings = preset.settings
    assert (settings.lambda_u, settings.scan) == (lambda_u, scan)
    assert settings.warm_up == (10 if data == "cifar10" else 30)
    assert settings.threshold == (0.6 if rate == 0.9 else 0.5)
    assert settings.confidence_penalty == (noise == "asym")
    assert (settings.network, settings.epochs, settings.batch_size) == ("preact-resnet18", 300, 64)
    assert [settings.lr_at(epoch) for epoch in (149, 150)] == pytest.approx([0.02, 0.002])
    assert (settings.momentum, settings.weight_decay, settings.n_neighbors) == (0.9, 5e-4, 20)
    assert (settings.pretrain_epochs, settings.pretrain_lr, settings.pretrain_batch_size) == (
        500,
        0.4,
        512,
    )
    assert (settings.scan_lr, settings.scan_batch_size, settings.lambda_e) == (0.001, 128, 2.0)


def test_clothing1m_is_the_cell_of_table_3():
    preset = load_preset("clothing1m")
    assert preset.data == {"data": "clothing1m", "noise": "none"}
    settings = preset.settings
    assert (settings.network, settings.epochs, settings.warm_up) == ("resnet50", 80, 1)
    assert [settings.lr_at(epoch) for epoch in (39, 40)] == pytest.approx([0.002, 0.0002])
    assert (settings.weight_decay, settings.lambda_u, settings.alpha) == (1e-3, 0, 0.5)
    assert (settings.batch_size, settings.epoch_samples) == (32, 32_000)
    assert (settings.pretrain_epochs, settings.scan) == (0, "off")


@pytest.mark.parametrize("column", ["random1", "aggregate"])
def test_human_labels_have_a_preset_that_is_said_to_be_ours(column):
    preset = load_preset(f"cifar10n-{column}")
    assert preset.data == {"data": "cifar10", "noise": "human", "human_column": column}
    assert "ours" in preset_text(f"cifar10n-{column}")


def test_there_are_no_other_presets():
    others = {"clothing1m", "cifar10n-random1", "cifar10n-aggregate"}
    assert set(preset_names()) == set(CELLS) | others
    assert preset_names() == sorted(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_hides_no_setting(name):
    lines = preset_text(name).splitlines()
    shown = {line.split(" = ")[0] for line in lines if " = " in line and line[0] != "#"}
    assert {field.name for field in fields(Settings)} - NOT_IN_EVERY_FILE <= shown


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"clothing1m, or a path.*got 'cifar10-sym30'"):
        load_preset("cifar10-sym30")


def test_a_file_of_ones_own_needs_only_what_differs(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[settings]\nlr = 1\nwithout = ["scan"]\nwarm_up = 3\n')
    preset = load_preset(file)
    assert (preset.name, preset.data) == ("mine", {})
    assert preset.settings == Settings(lr=1, without=("scan",), warm_up=3)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("[settings]\nlearning_rate = 1.0", TypeError, r"\[settings\] has .* `learning_rate`"),
        ("[settings]\nepochs = 10.5", TypeError, r"`epochs` must be a whole number, got 10.5"),
        ("[settings]\nepochs = true", TypeError, r"`epochs` must be a whole number, got True"),
        ("[settings]\nwarm_up = 'ten'", TypeError, r"`warm_up` must be a whole number, got 'ten'"),
        ("[settings]\nlr = '0.02'", TypeError, r"`lr` must be a number, got '0.02'"),
        ("[settings]\nlr = false", TypeError, r"`lr` must be a number, got False"),
        ("[settings]\naugment = 1", TypeError, r"`augment` must be true or false, got 1"),
        ("[settings]\nwithout = 'scan'", TypeError, r"`without` must be a list of texts"),
        ("[settings]\nmethod = 3", TypeError, r"`method` must be a text, got 3"),
        ("[settings]\nmethod = 'magic'", ValueError, r"`method` must be one of"),
        ("[settings]\nlr = nan", ValueError, r"`lr` must be positive"),
        ("[data]\nrate = 0.5", TypeError, r"\[data\] has the unknown key `rate`"),
        ("[data]\nnoise_rate = '50 %'", TypeError, r"\[data\] `noise_rate` must be a number"),
        ("lr = 0.02", TypeError, r"unknown key `lr`; known are data, settings"),
        ("settings = 1", TypeError, r"`settings` must be a table"),
        ("[settings\n", ValueError, r"is not TOML"),
        (b"\xff\xfe", ValueError, r"is not text in UTF-8"),
    ],
)
def test_a_faulty_file_is_refused_by_file_and_key(tmp_path, text, error, message):
    file = tmp_path / "mine.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(error, match=message) as raised:
        load_preset(file)
    assert str(raised.value).startswith(str(file))


def test_an_absent_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.toml"):
        load_preset("nowhere.toml")
