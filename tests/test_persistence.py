import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from mmaavi.errors import InputError
from mmaavi.estimator import MMAAVI
from mmaavi.settings import Settings

QUICK = Settings(n_components=6, width=32, n_fused=16, n_latent=8, n_steps=30, minibatch_size=60)

LOAD = """
import sys
sys.path[:0] = [{src!r}, {tests!r}]
import numpy as np
from conftest import small_mosaic
from mmaavi.estimator import MMAAVI
model = MMAAVI.load({folder!r}, device="cpu")
np.savez({out!r}, x=model.embed(small_mosaic())["X_mmaavi"], imputed=model.impute(small_mosaic(), "protein"))
"""


@pytest.fixture(scope="module")
def saved(mosaic, tmp_path_factory):
    labels = mosaic.obs["batch"].iloc[::3]  # any labels: that they are kept is what counts
    model = MMAAVI(QUICK, device="cpu").fit(mosaic, labels=labels, progress=False)
    folder = tmp_path_factory.mktemp("models") / "model"
    model.save(folder)
    return model, folder


def test_another_process_loads_the_same_model(mosaic, saved, tmp_path):
    model, folder = saved
    out = tmp_path / "out.npz"
    code = LOAD.format(src=str(ROOT / "src"), tests=str(ROOT / "tests"), folder=str(folder), out=str(out))
    subprocess.run([sys.executable, "-c", code], check=True)
    other = np.load(out)
    np.testing.assert_allclose(other["x"], model.embed(mosaic)["X_mmaavi"], atol=1e-5)
    np.testing.assert_allclose(other["imputed"], model.impute(mosaic, "protein"), rtol=1e-4)


def test_everything_a_model_knows_is_kept(mosaic, saved):
    model, folder = saved
    loaded = MMAAVI.load(folder, device="cpu")
    assert loaded.settings == model.settings
    assert (loaded.batches, loaded.labels, loaded.temperature) == (model.batches, model.labels, model.temperature)
    np.testing.assert_allclose(loaded.predict_labels(mosaic), model.predict_labels(mosaic), atol=1e-6)
    assert loaded.history.equals(model.history)
    assert "torch" in json.loads((folder / "model.json").read_text())["versions"]


def test_a_folder_that_is_cut_off_or_of_another_format_is_refused(saved, tmp_path):
    _, folder = saved
    with pytest.raises(InputError, match="holds no whole saved model"):
        MMAAVI.load(tmp_path)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    about = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(about | {"format": 99}))
    with pytest.raises(InputError, match="has the format 99"):
        MMAAVI.load(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes()[:2000])
    with pytest.raises(InputError, match="holds no whole saved model"):
        MMAAVI.load(tmp_path)
