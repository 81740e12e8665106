import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from noisyselect.errors import NoisySelectWarning, NonFiniteWarning
from noisyselect.store import import_log, open_run

AUM_RECORDS = Path(__file__).parent / "data" / "full_aum_records.csv"
N_CLASSES = 3


def aum_logits():
    """What the calculator of the aum package was given, see data/README.md."""
    with np.load(AUM_RECORDS.parent / "aum_logits.npz") as arrays:
        return arrays["ids"], arrays["labels"], arrays["logits"].astype(np.float64)


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def assert_same_run(one, other):
    assert one.ids.tolist() == other.ids.tolist()
    assert one.networks == other.networks
    assert one.class_names == other.class_names
    assert (one.truth is None) == (other.truth is None)
    assert one.truth is None or np.array_equal(one.truth, other.truth)
    for network in one.networks:
        log, other_log = one.log(network), other.log(network)
        assert log.columns == other_log.columns
        for name in log.columns:
            assert np.array_equal(getattr(log, name), getattr(other_log, name)), name


# AUM.


def test_records_that_the_aum_package_wrote_become_a_run(tmp_path):
    ids, labels, logits = aum_logits()
    run = import_log(AUM_RECORDS, tmp_path / "run")
    assert run.settings["imported_as"] == "AUM records"
    assert "lower bound" in run.settings["loss"]
    assert run.ids.tolist() == ids.tolist()
    assert run.labels.tolist() == labels.tolist()
    assert run.n_epochs == len(logits)
    log = run.log()
    assert np.array_equal(log.predictions, logits.argmax(axis=2))
    assert log.confidences is None
    losses = -log_softmax(logits)[:, np.arange(labels.size), labels]
    assert (log.losses <= losses + 1e-6).all()
    assert (losses <= log.losses + np.log(N_CLASSES - 1) + 1e-6).all()
    of_label = logits[:, np.arange(labels.size), labels]
    others = np.where(np.eye(N_CLASSES, dtype=bool)[labels], -np.inf, logits).max(axis=2)
    assert -np.log(np.expm1(log.losses.astype(np.float64))) == pytest.approx(
        of_label - others, abs=1e-4
    )


def test_the_margin_of_two_classes_is_the_exact_loss(tmp_path):
    logits = np.random.default_rng(0).normal(size=(6, 2)) * 5
    labels = np.array([0, 1, 1, 0, 1, 0])
    rows = np.arange(6)
    table = pd.DataFrame(
        {
            "sample_id": rows,
            "num_measurements": 1,
            "target_logit": labels,
            "target_val": logits[rows, labels],
            "other_logit": 1 - labels,
            "other_val": logits[rows, 1 - labels],
            "margin": logits[rows, labels] - logits[rows, 1 - labels],
            "aum": 0.0,
        }
    )
    table.to_csv(tmp_path / "full_aum_records.csv", index=False)
    log = import_log(tmp_path, tmp_path / "run").log()
    assert log.losses[0] == pytest.approx(-log_softmax(logits)[rows, labels], rel=1e-5)


def test_the_permuted_rows_of_aum_make_the_same_run(tmp_path):
    table = pd.read_csv(AUM_RECORDS)
    permuted = table.sample(frac=1, random_state=0)
    assert permuted["sample_id"].tolist() != table["sample_id"].tolist()
    permuted.to_csv(tmp_path / "full_aum_records.csv", index=False)
    run = import_log(tmp_path / "full_aum_records.csv", tmp_path / "permuted")
    assert_same_run(run, import_log(AUM_RECORDS, tmp_path / "run"))


def test_a_margin_that_is_nan_is_a_missing_record(tmp_path):
    table = pd.read_csv(AUM_RECORDS)
    table.loc[table["sample_id"] == "img_003.png", "margin"] = np.nan
    table.to_csv(tmp_path / "full_aum_records.csv", index=False)
    run = import_log(tmp_path / "full_aum_records.csv", tmp_path / "run")
    with pytest.warns(NonFiniteWarning):
        log = run.log()
    assert np.isnan(log.losses[:, 3]).all()
    assert (log.predictions[:, 3] == -1).all()
    assert (np.delete(log.predictions, 3, axis=1) >= 0).all()


def test_means_of_aum_are_refused_with_the_way_out(tmp_path):
    (tmp_path / "aum_values.csv").write_text("sample_id,aum\na,1.0\n")
    with pytest.raises(ValueError, match=r"compressed=False\) writes full_aum_records\.csv"):
        import_log(tmp_path / "aum_values.csv", tmp_path / "run")


# Dataset Cartography.


def write_cartography(folder, logits, gold, ids):
    """As its `log_training_dynamics` does, in a new order every epoch."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for epoch, values in enumerate(logits):
        order = rng.permutation(len(ids))
        table = pd.DataFrame(
            {
                "guid": [ids[i] for i in order],
                f"logits_epoch_{epoch}": [values[i].tolist() for i in order],
                "gold": [int(gold[i]) for i in order],
            }
        )
        table.to_json(folder / f"dynamics_epoch_{epoch}.jsonl", lines=True, orient="records")


def test_training_dynamics_of_cartography_become_a_run_joined_by_guid(tmp_path):
    _, gold, logits = aum_logits()
    guids = [4734364254410 + 7 * i for i in range(len(gold))][::-1]
    write_cartography(tmp_path / "training_dynamics", logits, gold, guids)
    run = import_log(tmp_path, tmp_path / "run")
    assert "Cartography" in run.settings["imported_as"]
    assert run.ids.tolist() == sorted(guids)
    assert run.labels.tolist() == gold[::-1].tolist()
    log = run.log()
    # The tool rounds to ten digits.
    expected = log_softmax(logits)[:, ::-1]
    rows = np.arange(len(gold))
    assert log.losses == pytest.approx(-expected[:, rows, gold[::-1]], rel=1e-5, abs=1e-6)
    assert np.array_equal(log.predictions, expected.argmax(axis=2))
    assert log.confidences == pytest.approx(np.exp(expected.max(axis=2)), rel=1e-5)
    other = import_log(tmp_path / "training_dynamics", tmp_path / "other")
    assert_same_run(run, other)


def test_the_sample_in_the_repository_of_cartography_is_read(tmp_path):
    # The first lines of sample/training_dynamics/, whose epochs hold different samples.
    lines = [
        '{"guid":4734364254410,"logits_epoch_0":[-0.4754295349,-0.2257211208,0.9408461452],"gold":0}',
        '{"guid":2115631346111,"logits_epoch_1":[-3.3547575474,-2.0383427143,4.5819568634],"gold":2}',
    ]
    for epoch, line in enumerate(lines):
        (tmp_path / f"dynamics_epoch_{epoch}.jsonl").write_text(line + "\n")
    with pytest.warns(NoisySelectWarning, match="2 of 2 samples lack a record in some epoch"):
        run = import_log(tmp_path, tmp_path / "run")
    with pytest.warns(NonFiniteWarning):
        log = run.log()
    assert run.n_classes == 3
    assert log.predictions.tolist() == [[-1, 2], [2, -1]]
    assert log.losses[0, 1] == pytest.approx(1.85714, abs=1e-4)
    assert log.losses[1, 0] == pytest.approx(0.00169, abs=1e-4)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (['{"guid":1,"gold":0}'], "lacks the column logits_epoch_0; it has guid, gold"),
        (['{"guid":1,"logits_epoch_0":[1.0,2.0],"gold":2}'], "place of the label among the 2"),
        (['{"guid":1,"logits_epoch_0":[1.0],"gold":"cat"}'], "place of the label among the 1"),
        (
            [
                '{"guid":1,"logits_epoch_0":[1.0,2.0],"gold":0}',
                '{"guid":2,"logits_epoch_0":[1.0],"gold":0}',
            ],
            "lists of one length",
        ),
        (['{"guid":1,"logits_epoch_0":'], "cannot be read as lines of JSON"),
        (['{"guid":1,"logits_epoch_0":[1.0,2.0],"gold":0}'] * 2, "have one already"),
    ],
)
def test_training_dynamics_that_make_no_sense_are_refused_by_file(tmp_path, lines, reason):
    (tmp_path / "dynamics_epoch_0.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=reason):
        import_log(tmp_path, tmp_path / "run")


def test_an_epoch_of_cartography_that_is_not_there_is_named(tmp_path):
    _, gold, logits = aum_logits()
    write_cartography(tmp_path / "dynamics", logits, gold, list(range(len(gold))))
    (tmp_path / "dynamics" / "dynamics_epoch_3.jsonl").unlink()
    with pytest.raises(ValueError, match=r"lacks dynamics_epoch_3\.jsonl"):
        import_log(tmp_path / "dynamics", tmp_path / "run")


# Tables.


def long_table(n_samples=5, n_epochs=3, networks=("a",)):
    rng = np.random.default_rng(0)
    rows = []
    for network in networks:
        for epoch in range(n_epochs):
            for i in range(n_samples):
                row = {
                    "id": f"img-{i}",
                    "epoch": epoch,
                    "network": network,
                    "lr": 0.1 / (epoch + 1),
                }
                row |= {"loss": rng.gamma(1.0), "confidence": rng.random()}
                row |= {"label": i % 3, "true_label": (i + 1) % 3, "prediction": i % 2}
                row |= {"batch": i // 2}
                rows.append(row)
    return pd.DataFrame(rows)


def write_table(table, path):
    table.to_csv(path, index=False) if ".csv" in path.suffixes else table.to_parquet(path)
    return path


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.parquet"])
def test_a_long_table_in_any_order_becomes_a_run(tmp_path, name):
    table = long_table(networks=("b", "a"))
    path = write_table(table.sample(frac=1, random_state=0), tmp_path / name)
    run = import_log(path, tmp_path / "run")
    assert run.settings["imported_from"] == name
    assert run.networks == ("a", "b")
    assert run.ids.tolist() == [f"img-{i}" for i in range(5)]
    assert run.labels.tolist() == [0, 1, 2, 0, 1]
    assert run.truth.tolist() == [1, 2, 0, 1, 2]
    for network in run.networks:
        log = run.log(network)
        mine = table[table["network"] == network]
        for column, name in (
            ("loss", "losses"),
            ("prediction", "predictions"),
            ("confidence", "confidences"),
            ("batch", "batches"),
        ):
            expected = mine[column].to_numpy().reshape(3, 5)
            assert getattr(log, name) == pytest.approx(expected, rel=1e-6)
        assert log.lr.tolist() == [0.1, 0.05, 0.1 / 3]


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_a_mini_batch_that_is_not_known_is_none(tmp_path, name):
    table = long_table().astype({"batch": "Int64"})
    table.loc[1, "batch"] = None
    run = import_log(write_table(table, tmp_path / name), tmp_path / "run")
    assert run.log().batches[0].tolist() == [0, -1, 1, 1, 2]
    table["batch"] = None
    run = import_log(write_table(table, tmp_path / f"none-{name}"), tmp_path / "none")
    assert run.log().batches is None


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_a_wide_table_is_the_same_run_as_the_long_one(tmp_path, name):
    long = long_table().drop(columns=["lr", "network", "batch"])
    wide = long.pivot(index="id", columns="epoch", values=["loss", "prediction", "confidence"])
    wide.columns = [f"{column}_{epoch}" for column, epoch in wide.columns]
    first = long[long["epoch"] == 0].set_index("id")
    wide = wide.join(first[["label", "true_label"]]).reset_index()
    run = import_log(
        write_table(wide.sample(frac=1, random_state=1), tmp_path / name), tmp_path / "wide"
    )
    long_run = import_log(write_table(long, tmp_path / "long.parquet"), tmp_path / "long")
    assert_same_run(run, long_run)


def test_epochs_of_a_wide_table_are_numbers_and_not_text(tmp_path):
    table = pd.DataFrame({"id": [0, 1], "label": [0, 1]} | {f"loss_{k}": [k, k] for k in range(12)})
    run = import_log(write_table(table, tmp_path / "log.csv"), tmp_path / "run")
    assert run.log().losses[:, 0].tolist() == list(range(12))


def test_class_names_are_numbered_in_their_order_over_all_columns(tmp_path):
    names = np.array(["dog", "ant", "cat"])
    table = long_table()
    for column in ("label", "true_label", "prediction"):
        table[column] = names[table[column]]
    table.loc[0, "prediction"] = None
    for name in ("log.csv", "log.parquet"):
        kind = "category" if name == "log.parquet" else "str"
        typed = table.astype(dict.fromkeys(("label", "true_label"), kind))
        run = import_log(write_table(typed, tmp_path / name), tmp_path / f"run of {name}")
        assert run.class_names == ("ant", "cat", "dog")
        assert run.labels.tolist() == [2, 0, 1, 2, 0]
        assert run.truth.tolist() == [0, 1, 2, 0, 1]
        assert run.log().predictions[0].tolist() == [-1, 0, 2, 0, 2]


def test_a_label_that_one_record_lacks_is_that_of_the_others(tmp_path):
    table = long_table().astype({"label": "Int64"})
    expected = import_log(write_table(table, tmp_path / "whole.csv"), tmp_path / "whole")
    table.loc[0, "label"] = None
    assert_same_run(
        import_log(write_table(table, tmp_path / "log.csv"), tmp_path / "run"), expected
    )


def test_the_folder_that_a_table_lies_in_says_nothing(tmp_path):
    (tmp_path / "label=1").mkdir()
    path = write_table(long_table().drop(columns="label"), tmp_path / "label=1" / "log.parquet")
    with pytest.raises(ValueError, match="has no given labels"):
        import_log(path, tmp_path / "run")


def test_names_go_with_a_column_of_predictions_that_is_empty(tmp_path):
    table = long_table().drop(columns="true_label").assign(label="cat", prediction=None)
    for name in ("log.csv", "log.parquet"):
        run = import_log(write_table(table, tmp_path / name), tmp_path / f"run of {name}")
        assert run.class_names == ("cat",)
        assert run.log().predictions is None


def test_ids_are_taken_as_they_are_written(tmp_path):
    (tmp_path / "log.csv").write_text("id,epoch,loss,label\n007,0,1.5,0\n7,0,2,1\n")
    assert import_log(tmp_path / "log.csv", tmp_path / "text").ids.tolist() == ["007", "7"]
    (tmp_path / "log.csv").write_text("id,epoch,loss,label\n70,0,1.5,0\n7,0,2,1\n")
    assert import_log(tmp_path / "log.csv", tmp_path / "numbers").ids.tolist() == [7, 70]


def test_labels_and_truth_from_files_are_joined_by_id(tmp_path):
    table = long_table()
    log = write_table(table.drop(columns=["label", "true_label"]), tmp_path / "log.csv")
    samples = table[table["epoch"] == 0].sample(frac=1, random_state=0)
    extra = pd.DataFrame({"id": ["never trained on"], "label": [9], "true_label": [9]})
    samples = pd.concat([extra, samples[["id", "label", "true_label"]]])
    labels = write_table(samples[["id", "label"]], tmp_path / "labels.csv")
    truth = write_table(samples[["id", "true_label"]], tmp_path / "truth.parquet")
    run = import_log(log, tmp_path / "run", labels=labels, truth=truth)
    assert_same_run(run, import_log(write_table(table, tmp_path / "all.csv"), tmp_path / "all"))


def test_numbers_and_text_of_numbers_are_the_same_ids(tmp_path):
    table = pd.DataFrame({"id": ["2", "1"], "epoch": 0, "loss": [0.5, 0.25]})
    labels = pd.DataFrame({"id": [1, 2], "label": [1, 0]})
    run = import_log(
        write_table(table, tmp_path / "log.parquet"),
        tmp_path / "run",
        labels=write_table(labels, tmp_path / "labels.parquet"),
    )
    assert run.labels.tolist() == [1, 0]
    assert run.log().losses.tolist() == [[0.25, 0.5]]


def test_epochs_are_renumbered_and_the_numbers_of_the_source_kept(tmp_path):
    table = long_table()
    table["epoch"] = table["epoch"] * 5 + 5
    run = import_log(write_table(table, tmp_path / "log.csv"), tmp_path / "run")
    assert run.n_epochs == 3
    assert [line["metrics"] for line in run.epochs] == [
        {"epoch_in_source": number} for number in (5, 10, 15)
    ]


def test_a_column_without_any_value_in_an_epoch_is_not_in_the_log(tmp_path):
    table = long_table()
    table.loc[table["epoch"] == 1, "prediction"] = None
    table["confidence"] = None
    table["true_label"] = None
    run = import_log(write_table(table, tmp_path / "log.csv"), tmp_path / "run")
    assert run.truth is None
    assert run.log().predictions is None
    assert run.log().confidences is None
    assert run.log(until=1).predictions is not None


def test_samples_without_a_record_are_counted_and_missing_in_the_log(tmp_path):
    table = long_table()
    path = write_table(table[(table["epoch"] != 1) | (table["id"] != "img-2")], tmp_path / "l.csv")
    with pytest.warns(NoisySelectWarning, match=r"1 of 5 samples lack a record in some epoch"):
        run = import_log(path, tmp_path / "run")
    with pytest.warns(NonFiniteWarning):
        log = run.log()
    assert np.argwhere(np.isnan(log.losses)).tolist() == [[1, 2]]
    assert log.predictions[1, 2] == -1


def changed(**columns):
    return long_table().assign(**columns)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (long_table().drop(columns="label"), r"has no given labels.*id and label: --labels FILE"),
        (changed(epoch=0), r"10 records .*have one already, the first of id 'img-0' in epoch 0"),
        (
            changed(label=np.arange(15) % 2),
            r"`label` must be one per sample, but 5 ids have several",
        ),
        (changed(label=0.5), "`label` must hold class numbers or names"),
        (changed(label=True), "`label` must hold class numbers or names, got bool"),
        (changed(label="x"), "label holds names and true_label, prediction numbers"),
        (
            changed(prediction=-7),
            "`prediction` must hold class numbers from 0, or -1 for none, got -7",
        ),
        (changed(label=-1), "has no given labels"),
        (changed(loss="high"), "`loss` must hold numbers, got"),
        (changed(loss=-0.5), r"cross-entropy is 0 or more, got the loss -0\.5"),
        (changed(confidence=97.5), r"probability in \[0, 1\], got 97\.5"),
        (changed(epoch=0.5), "`epoch` must hold an integer in every row"),
        (changed(batch=0.5), "log.parquet: .*truncated"),
        (changed(batch="x"), "`batch` must hold whole numbers, got"),
        (changed(batch=-2), r"`batch` must lie in \[-1, 2\*\*31\), got -2 to -2"),
        (changed(id=None), "`id` must"),
        (changed(id=1.5), "`id` must hold integers or strings, got double"),
        (changed(network="a b"), "`networks` must be different names"),
        (changed(network=1), "`network` must hold strings"),
        (changed(lr=np.arange(15)), "`lr` must be one per epoch, but epoch 0 has several"),
        (long_table()[:0], "has no rows"),
        (long_table().drop(columns="loss"), "has the columns id, epoch, .*A training log is AUM's"),
        (pd.DataFrame({"id": [1], "loss_0": [1.0], "loss_1": ["x"]}), "do not fit together"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused_and_leaves_nothing(tmp_path, table, reason):
    path = write_table(table, tmp_path / "log.parquet")
    with pytest.raises(ValueError, match=reason):
        import_log(path, tmp_path / "run")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (
            "id,label\nimg-0,1\n",
            r"labels\.csv: lacks the label of 4 of 5 samples, the first 'img-1'",
        ),
        ("id,label\nimg-0,1\nimg-0,2\n", "holds an id more than once"),
        ("id,class\nimg-0,1\n", "lacks the column label; it has id, class"),
        ("", "cannot be read as CSV"),
    ],
)
def test_a_file_of_labels_that_does_not_fit_is_refused_by_name(tmp_path, labels, reason):
    path = write_table(long_table().drop(columns="label"), tmp_path / "log.csv")
    (tmp_path / "labels.csv").write_text(labels)
    with pytest.raises(ValueError, match=reason):
        import_log(path, tmp_path / "run", labels=tmp_path / "labels.csv")


def test_labels_beside_those_of_the_log_are_refused(tmp_path):
    path = write_table(long_table(), tmp_path / "log.csv")
    for name in ("labels", "truth"):
        with pytest.raises(ValueError, match="of its own: leave out"):
            import_log(path, tmp_path / "run", **{name: path})


# Whatever else is handed in.


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("log.csv", b"", "cannot be read as CSV.*A training log is AUM's"),
        ("log.csv", b"a,b\n1\n", "cannot be read as CSV"),
        ("log.csv", "id,epoch,loss\né,0,1".encode("latin-1"), "cannot be read as CSV"),
        ("log.csv", "é,epoch,loss\n1,0,1".encode("latin-1"), "cannot be read as CSV"),
        ("log.csv", b"id,epoch,loss,loss\n1,0,1,1\n", "more than one column named loss"),
        ("log.csv", b"id;epoch;loss\n1;0;1\n", "has the columns id;epoch;loss"),
        ("log.csv.gz", b"no gzip", "cannot be read as CSV"),
        ("log.parquet", b"PAR1 and nothing more", "cannot be read as Parquet"),
        ("log.npz", b"nothing", "is not an npz file"),
        ("log", bytes(range(256)), r"A training log is AUM's"),
    ],
)
def test_a_file_that_is_no_log_is_refused_by_name(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=reason) as caught:
        import_log(tmp_path / name, tmp_path / "run")
    assert str(tmp_path / name) in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_no_log_is_refused(tmp_path):
    (tmp_path / "dynamics_epoch_x.jsonl").write_text("")
    with pytest.raises(ValueError, match="holds no training log that can be imported"):
        import_log(tmp_path, tmp_path / "run")
    import_log(AUM_RECORDS, tmp_path / "run")
    with pytest.raises(ValueError, match="is a run directory already"):
        import_log(tmp_path / "run", tmp_path / "other")


def test_nothing_is_written_over(tmp_path):
    run = import_log(AUM_RECORDS, tmp_path / "run")
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        import_log(AUM_RECORDS, tmp_path / "run")
    assert_same_run(run, open_run(tmp_path / "run"))


def test_an_import_that_fails_half_way_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def full(self, *args, **kwargs):
        calls.append(self.path)
        raise OSError("No space left on device")

    monkeypatch.setattr("noisyselect.store.RunWriter.write_epoch", full)
    with pytest.raises(OSError, match="No space"):
        import_log(AUM_RECORDS, tmp_path / "run")
    assert calls
    assert list(tmp_path.iterdir()) == []


def test_an_npz_has_no_ids_to_join_labels_with(tmp_path):
    np.savez(tmp_path / "log.npz", loss=np.ones((2, 3)), label=np.array([0, 1, 1]))
    with pytest.raises(ValueError, match="an npz has no ids"):
        import_log(tmp_path / "log.npz", tmp_path / "run", truth=AUM_RECORDS)
    run = import_log(tmp_path / "log.npz", tmp_path / "run")
    assert run.settings == {"imported_from": "log.npz", "imported_as": "an npz of arrays"}


# Damage.


def test_a_mutated_log_of_any_kind_is_read_or_refused_by_name(tmp_path):
    _, labels, logits = aum_logits()
    sources = {"full_aum_records.csv": AUM_RECORDS.read_bytes()}
    for name in ("long.csv", "long.parquet"):
        sources[name] = write_table(long_table(), tmp_path / name).read_bytes()
    np.savez_compressed(tmp_path / "log.npz", loss=np.ones((2, 3)), label=np.array([0, 1, 1]))
    sources["log.npz"] = (tmp_path / "log.npz").read_bytes()
    write_cartography(tmp_path / "c", logits[:2], labels, list(range(len(labels))))
    sources["c/dynamics_epoch_1.jsonl"] = (tmp_path / "c/dynamics_epoch_1.jsonl").read_bytes()
    rng = np.random.default_rng(0)
    n_refused = 0
    for i in range(200):
        name = list(sources)[i % len(sources)]
        changed = bytearray(sources[name])
        if i % 3:
            for place in rng.integers(len(changed), size=3):
                changed[place] ^= 1 << int(rng.integers(8))
        else:
            del changed[rng.integers(len(changed)) :]
        (tmp_path / name).write_bytes(changed)
        source = tmp_path / name if name.count("/") == 0 else tmp_path / "c"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoisySelectWarning)
            try:
                import_log(source, tmp_path / f"run {i}")
            except ValueError as error:
                n_refused += 1
                assert str(tmp_path) in str(error) or "must" in str(error), (name, error)  # noqa: PT017
        (tmp_path / name).write_bytes(sources[name])
    assert n_refused > 100
