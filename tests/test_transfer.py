import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from mmaavi.errors import InputError
from mmaavi.transfer import AT_LEAST, carried_by_neighbours, family, labelled_cells, transfer_scores


@pytest.fixture
def table(rng) -> pd.DataFrame:
    n = 400
    label = rng.choice(["T", "B", "rare"], n, p=[0.7, 0.27, 0.03])
    batch = np.repeat(["a", "b"], n // 2)
    label[batch == "b"] = np.where(label[batch == "b"] == "rare", "T", label[batch == "b"])
    cells = pd.DataFrame({"batch": batch, "pattern": np.where(batch == "a", "rna+atac", "rna"), "kind": label})
    cells.loc[::10, "kind"] = None
    return cells.set_axis([f"c{i}" for i in range(n)])


def test_labelled_cells_are_as_common_as_in_their_batch_but_five_at_least(table):
    chosen = labelled_cells(table, 60, seed=0)
    assert set(chosen["batch"]) == {"a"}  # it has more labels
    counts, here = chosen["kind"].value_counts(), table.query("batch == 'a'")["kind"].value_counts()
    assert counts["rare"] == min(AT_LEAST, here["rare"])
    for label in ("T", "B"):
        assert abs(counts[label] - 60 * here[label] / here.sum()) <= 0.5
    pd.testing.assert_frame_equal(chosen, table.loc[chosen.index])
    assert not labelled_cells(table, 60, seed=1).index.equals(chosen.index)
    assert set(labelled_cells(table, 60, seed=0, batch="b")["batch"]) == {"b"}


def test_labelled_cells_ask_for_labels_and_a_batch_that_has_some(table):
    with pytest.raises(InputError, match="'labelled_batch' is 'aa', which has no labelled cells; did you mean 'a'"):
        labelled_cells(table, 60, 0, "aa")
    with pytest.raises(InputError, match="the dataset has none"):
        labelled_cells(table[["batch", "pattern"]], 60, 0)


def test_neighbours_carry_labels_by_cell_id(rng):
    states = pd.DataFrame(
        np.concatenate([rng.normal(size=(50, 2)), 20 + rng.normal(size=(50, 2))]), [f"c{i}" for i in range(100)]
    )
    labels = pd.Series({f"c{i}": "near" for i in range(5)} | {f"c{i}": "far" for i in range(95, 100)})
    shares = carried_by_neighbours(states.sample(frac=1, random_state=0), labels.sample(frac=1, random_state=1))
    assert (shares.loc[states.index[:50], "near"] == 1).all()
    assert (shares.loc[states.index[50:], "far"] == 1).all()


def test_scores_agree_with_scikit_learn_and_leave_labelled_cells_out(table, rng):
    names = ["B", "T", "new_1", "rare"]
    probabilities = pd.DataFrame(rng.dirichlet(np.ones(4), len(table)), table.index, names)
    labelled = labelled_cells(table, 50, 0).index
    scores = {
        (s.group, s.metric): s.value for s in transfer_scores(probabilities.sample(frac=1, random_state=0), table, labelled)
    }
    for group, rows in {
        "all": slice(None),
        "batch: b": table["batch"] == "b",
        "pattern: rna+atac": table["batch"] == "a",
    }.items():
        part = table[rows]
        part = part[part["kind"].notna() & ~part.index.isin(labelled)]
        p = probabilities.loc[part.index]
        predicted = p.idxmax(axis=1)
        assert scores[group, "transfer_accuracy"] == pytest.approx((predicted == part["kind"]).mean())
        present = sorted(part["kind"].unique())
        assert scores[group, "transfer_f1"] == pytest.approx(f1_score(part["kind"], predicted, labels=present, average="macro"))
        auc = np.mean([roc_auc_score(part["kind"] == name, p[name]) for name in present])
        assert scores[group, "transfer_auc"] == pytest.approx(auc)
        with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
            assert scores[group, "transfer_balanced"] == pytest.approx(balanced_accuracy_score(part["kind"], predicted))


def test_a_label_that_the_reference_lacks_is_never_right_and_its_auc_is_chance(table):
    probabilities = pd.DataFrame({"T": 0.6, "B": 0.4}, index=table.index)
    scores = {(s.group, s.metric): s.value for s in transfer_scores(probabilities, table, table.index[:0])}
    assert scores["all", "transfer_auc"] == pytest.approx(0.5)
    assert scores["all", "transfer_balanced"] == pytest.approx(1 / 3)


def test_variants_that_differ_by_a_number_are_one_line():
    names = ["labels025", "labels400", "k10", "8"]
    assert [family(name, ["labels025", "labels400", "8"]) for name in names] == ["labels", "labels", "k10", "8"]
