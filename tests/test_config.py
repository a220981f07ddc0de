"""The presets, schemas, environments and documents agree with each other."""

import re

import pytest
import yaml
from conftest import ROOT
from snakemake.utils import validate

from mmaavi.configuration import read_config
from mmaavi.experiments import all_runs, check_analyses, check_names, check_settings
from mmaavi.sources import archive_of, named_files

DATASETS = sorted((ROOT / "config/datasets").glob("*.yaml"))
PRESETS = [ROOT / f"config/{name}.yaml" for name in ("config", "quickstart", "real", "paper", "peers", "analyses")]


def read(path, schema=None):
    content = yaml.safe_load(path.read_text())
    if schema:
        validate(content, ROOT / f"workflow/schemas/{schema}.schema.yaml")
    return content


@pytest.mark.parametrize("path", PRESETS, ids=lambda p: p.stem)
def test_presets_are_valid_and_name_datasets_that_exist(path):
    content = read(path, "config")
    assert {*content["datasets"]} <= {p.stem for p in DATASETS}
    schemas = ROOT / "workflow/schemas"
    config = read_config(path, schemas / "config.schema.yaml")
    datasets = {p.stem: read_config(p, schemas / "dataset.schema.yaml") for p in DATASETS if p.stem in content["datasets"]}
    check_names(config, datasets)
    check_analyses(config)
    check_settings(datasets, config["variants"])
    assert all_runs(config["experiments"], list(datasets))


@pytest.mark.parametrize("path", PRESETS, ids=lambda p: p.stem)
def test_the_released_settings_have_none_of_what_the_released_code_has_not(path):
    for name, settings in read(path, "config")["variants"].get("mmaavi", {}).items():
        if name.startswith("released"):
            theirs = {"schedule": "plateau", "discriminator": "released", "weight_graph": 0, "weight_agreement": 0}
            assert settings.items() >= (theirs | {"modality_dropout": 0}).items(), name


def test_the_default_config_shows_the_schemas_defaults():
    schema = read(ROOT / "workflow/schemas/config.schema.yaml")
    shown = read(PRESETS[0])
    for key, spec in schema["properties"].items():
        if "default" in spec:
            assert shown[key] == spec["default"], key


@pytest.mark.parametrize("path", DATASETS, ids=lambda p: p.stem)
def test_datasets_are_valid_and_cited(path):
    content = read(path, "dataset")
    assert content["citation"]
    known = {source["path"]: source for source in content["sources"]}
    assert {archive_of(path, known) or path for path in named_files(content)} == set(known)


def objects(schema: dict):
    if schema.get("type") == "object" and "properties" in schema:
        yield schema
    for value in schema.values():
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, dict):
                yield from objects(child)


@pytest.mark.parametrize("name", ["config", "dataset", "assemblies"])
def test_unknown_keys_are_errors_everywhere(name):
    for schema in objects(read(ROOT / f"workflow/schemas/{name}.schema.yaml")):
        open_on_purpose = set(schema["properties"]) == {"labels", "labelled"}  # settings of a variant, checked by the method
        closed = schema.get("additionalProperties") is False or schema.get("unevaluatedProperties") is False
        assert closed or open_on_purpose, schema["properties"].keys()


@pytest.mark.parametrize("change", [{"dataset": ["demo"]}, {"experiments": {"e": {"method": {}}}}, {"mirror": 3}])
def test_a_misspelt_or_mistyped_key_is_refused(change):
    with pytest.raises(Exception, match="(?i)additional|required|not of type|not valid"):
        validate(read(PRESETS[0]) | change, ROOT / "workflow/schemas/config.schema.yaml")


def test_every_key_is_described_in_the_config_readme():
    text = (ROOT / "config/README.md").read_text()
    for name in ("config", "dataset", "assemblies"):
        for schema in objects(read(ROOT / f"workflow/schemas/{name}.schema.yaml")):
            for key in schema["properties"]:
                assert f"`{key}`" in text, f"{name}: {key}"


def test_sources_are_those_of_the_mirror(mirror):
    rows = [line.split("\t") for line in (mirror / "SOURCES.tsv").read_text().splitlines()[1:]]
    known = {path: (url, sha256) for path, url, _size, sha256, _blob in rows}
    sources = [s for p in DATASETS for s in read(p, "dataset")["sources"]]
    sources += [a for a in read(ROOT / "config/assemblies.yaml", "assemblies").values() if "path" in a]
    held = [source for source in sources if source["path"] in known]
    assert {source["path"] for source in held} >= set(known) - {f"{folder}/Gx{x}.npz" for folder in ("mop", "pbmc") for x in "RP"}
    for source in held:
        assert (source["url"], source["sha256"]) == known[source["path"]], source["path"]


def pins(path, separator):
    lines = (line.split("#")[0].strip().lstrip("- ") for line in path.read_text().splitlines())
    return dict(line.split(separator) for line in lines if re.fullmatch(rf"[\w.-]+{separator}[\w.]+", line))


ENVIRONMENTS = sorted(path.stem for path in (ROOT / "envs").glob("*.yaml"))
# scmidas asks for these; without conda it runs beside the main stack's torch, and imports neither of the other two.
OWN_PINS = {"torch", "torchvision", "torchaudio"}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_conda_and_pip_pin_the_same_versions(name):
    on_pip = {"pytorch": "torch", "python-igraph": "igraph", "matplotlib-base": "matplotlib"}
    lock = {name.lower(): version for name, version in pins(ROOT / "envs/requirements.lock", "==").items()}
    conda = pins(ROOT / f"envs/{name}.yaml", "=")
    assert conda.pop("python") == "3.11"
    conda.pop("pip", None)
    assert len(conda) > 10
    for package, version in conda.items():
        assert lock[on_pip.get(package, package)] == version, package
    peers = {package.lower(): version for package, version in pins(ROOT / "envs/peers.lock", "==").items()}
    assert not set(peers) & set(lock)
    if name in ("peers", "midas"):
        beside = {package.lower(): version for package, version in pins(ROOT / f"envs/{name}.yaml", "==").items()}
        assert {p: v for p, v in beside.items() if p not in OWN_PINS}.items() <= peers.items()


def test_every_rule_names_its_environment_log_and_message():
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for rule in re.split(r"\nrule ", "\n" + path.read_text())[1:]:
            for directive in ("conda", "log", "message", "threads"):
                assert f"    {directive}:" in rule, f"{path.name}: {rule.splitlines()[0]} lacks {directive}"


def test_no_code_names_a_dataset():
    names = {p.stem for p in DATASETS} - {"demo"}
    for path in [*ROOT.glob("src/**/*.py"), *ROOT.glob("workflow/**/*.smk"), *ROOT.glob("workflow/scripts/*.py")]:
        assert not [n for n in names if f'"{n}"' in path.read_text()], path
