"""The cluster files are what Ray's launcher and Kubernetes read, and they state what the gate needs of a cluster.

The schema of KubeRay's own resources is in no package: their fields are checked against the names of its version 1.
"""
from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

ray = pytest.importorskip("ray", reason="has the schema of its launcher's files")
yaml = pytest.importorskip("yaml")
jsonschema = pytest.importorskip("jsonschema")

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "cluster"
SCHEMA = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
NEURON_CORES = {"inf1.xlarge": 4, "inf1.2xlarge": 4, "inf1.6xlarge": 16, "inf1.24xlarge": 64}
# Of ray.io/v1, ray-operator/apis/ray/v1/rayjob_types.go and raycluster_types.go.
RAY_JOB = {
    "activeDeadlineSeconds", "backoffLimit", "rayClusterSpec", "submitterPodTemplate", "metadata", "clusterSelector",
    "submitterConfig", "managedBy", "deletionStrategy", "entrypoint", "runtimeEnvYAML", "jobId", "submissionMode",
    "entrypointResources", "entrypointNumCpus", "entrypointNumGpus", "ttlSecondsAfterFinished",
    "shutdownAfterJobFinishes", "suspend",
}
RAY_CLUSTER = {
    "headGroupSpec", "workerGroupSpecs", "rayVersion", "enableInTreeAutoscaling", "autoscalerOptions",
    "headServiceAnnotations", "suspend",
}
GROUP = {"rayStartParams", "template"}
WORKER_GROUP = GROUP | {"groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "scaleStrategy"}


def content(name: str) -> dict:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["inf1.yaml", "cpu.yaml"])
def test_a_cluster_file_is_what_rays_launcher_reads(name):
    from ray.autoscaler._private.util import prepare_config, validate_config

    jsonschema.validate(content(name), json.loads(SCHEMA.read_text()))
    validate_config(prepare_config(content(name)))


@pytest.mark.parametrize("name", ["inf1.yaml", "cpu.yaml"])
def test_no_detector_runs_on_the_head_and_every_worker_is_there_from_the_start(name):
    found = content(name)
    kinds = found["available_node_types"]
    assert kinds.pop(found["head_node_type"])["resources"] == {"CPU": 0}
    assert all(kind["min_workers"] == kind["max_workers"] == found["max_workers"] for kind in kinds.values())


def test_the_neuron_cores_of_an_inf1_instance_are_stated():
    kinds = content("inf1.yaml")["available_node_types"]
    stated = {kind["node_config"]["InstanceType"]: kind["resources"].get("neuron_cores") for kind in kinds.values()}
    stated.pop("m5.xlarge")
    assert stated == {name: NEURON_CORES[name] for name in stated} and stated


def test_the_job_of_kuberay_has_fields_of_its_version_alone():
    found = content("kuberay.yaml")
    assert (found["apiVersion"], found["kind"]) == ("ray.io/v1", "RayJob")
    spec = found["spec"]
    cluster = spec["rayClusterSpec"]
    assert not set(spec) - RAY_JOB and not set(cluster) - RAY_CLUSTER
    assert set(cluster["headGroupSpec"]) == GROUP
    assert all(not set(group) - WORKER_GROUP for group in cluster["workerGroupSpecs"])
    params = [group["rayStartParams"] for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]]
    assert all(isinstance(value, str) for group in params for value in group.values())
    assert json.loads(json.loads(params[1]["resources"])) == {"neuron_cores": 4}


def test_the_pods_of_kuberay_are_what_kubernetes_reads():
    validate = pytest.importorskip("kubernetes_validate").validate
    cluster = content("kuberay.yaml")["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **group["template"]}
        validate(pod, "1.33", strict=True)


def test_the_job_of_kuberay_runs_the_gate_by_options_that_there_are():
    from fixtures.options import Options
    from model.options import rows

    entrypoint = shlex.split(content("kuberay.yaml")["spec"]["entrypoint"])
    given = [part for part in shlex.split(entrypoint[2]) if part.startswith("--")]
    assert set(given) <= {row.flag for row in rows(Options).values()} and "--ray" in given
