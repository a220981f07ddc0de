"""The profile for Kubernetes as far as one machine can tell: `make test-cloud`. Its plugins are real, moto plays its bucket.

No job runs on a cluster: one test plans the demo with the profile as it is, the other runs a small mosaic through the bucket,
with the jobs on this machine.
"""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from test_workflow import copy_project

if "MMAAVI_TEST_CLOUD" not in os.environ:
    pytest.skip("plays a bucket, installs plugins: make test-cloud", allow_module_level=True)
PORT = 5055
ADDRESS = f"http://127.0.0.1:{PORT}"
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
PROFILE = ["--workflow-profile", "workflow/profiles/kubernetes", "--default-storage-prefix", "s3://mmaavi/demo"]
PROFILE += ["--storage-s3-endpoint-url", ADDRESS, "--storage-s3-access-key", "key", "--storage-s3-secret-key", "secret"]
SMALL = """
datasets: [demo]
scenarios: {full: {n_cells: 300}}
experiments: {mine: {methods: {pca: [default], mmaavi: [quick]}, seeds: [0]}}
variants: {pca: {default: {}}, mmaavi: {quick: {n_steps: 20, width: 32}}}
"""


@pytest.fixture(scope="module")
def bucket():
    import boto3

    command = [sys.executable, "-m", "moto.server", "-p", str(PORT), "-H", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for_server()
            client = boto3.client(
                "s3", endpoint_url=ADDRESS, aws_access_key_id="key", aws_secret_access_key="secret", region_name="us-east-1"
            )
            client.create_bucket(Bucket="mmaavi")
            yield client
        finally:
            server.kill()


def wait_for_server() -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(ADDRESS)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError("the bucket's server did not start")


def snakemake(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "snakemake", *PROFILE, *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=os.environ | KEYS, timeout=1200)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def test_the_profile_plans_the_demo(bucket, tmp_path):
    text = snakemake(copy_project(tmp_path), "--dry-run")
    assert "s3://mmaavi/demo/results/demo/full/mosaic.h5mu" in text
    assert "disk_mb=20000" in text
    assert "mem_mb=3000" in text


def test_files_go_through_the_bucket_alone(bucket, tmp_path):
    folder = copy_project(tmp_path)
    (folder / "small.yaml").write_text(SMALL)
    here = ["--executor", "local", "--cores", "2", "--software-deployment-method", "env-modules"]
    snakemake(folder, *here, "--configfile", "small.yaml", "--", "results/tables/summary.tsv")
    kept = {entry["Key"] for entry in bucket.list_objects_v2(Bucket="mmaavi")["Contents"]}
    assert {f"demo/results/{name}" for name in ("demo/full/mosaic.h5mu", "tables/summary.tsv")} <= kept
    assert any(name.endswith("mmaavi/quick/seed0/embedding.h5ad") for name in kept)
    assert not list(folder.glob("results/**/*.h5mu"))
