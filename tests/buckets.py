"""An S3 server on this machine, and buckets there, for what is kept at a URL."""
from __future__ import annotations

import json
import os
from itertools import count

import pytest


class Bucket:
    """A bucket of the S3 server, seen past what is tested."""

    def __init__(self, client, name):
        self.client, self.name, self.url = client, name, f"s3://{name}/pre/fix"

    def paths(self) -> list:
        return [item["Key"] for item in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]

    def read(self, key) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def write(self, key, body: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def remove(self, key) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def key(self, end) -> str:
        return next(key for key in self.paths() if key.endswith(end))

    def refuse_uploads(self) -> None:
        what = {"Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{self.name}/*"}
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", **what}]}
        self.client.put_bucket_policy(Bucket=self.name, Policy=json.dumps(policy))


def s3_server():
    pytest.importorskip("s3fs", reason="pip install -r requirements-test.txt for the tests of S3")
    moto = pytest.importorskip("moto.server", reason="pip install -r requirements-test.txt for the tests of S3")
    server = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    return server


@pytest.fixture(scope="module")
def server():
    server = s3_server()
    yield server
    server.stop()


@pytest.fixture
def connect(monkeypatch, tmp_path):
    """A function: S3 server → a new bucket there, and the environment that leads this process to it."""
    numbers = count()

    def run(server) -> Bucket:
        import boto3
        from s3fs import S3FileSystem

        address = "http://{}:{}".format(*server.get_host_and_port())
        for name, value in dict(
            AWS_ENDPOINT_URL=address, AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="secret", AWS_MAX_ATTEMPTS="1",
            AWS_DEFAULT_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE=os.devnull,
            AWS_SHARED_CREDENTIALS_FILE=os.devnull, NO_PROXY="127.0.0.1",
        ).items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        S3FileSystem.clear_instance_cache()
        bucket = Bucket(boto3.client("s3"), f"{tmp_path.name.replace('_', '-')[:40]}-{next(numbers)}".lower())
        bucket.client.create_bucket(Bucket=bucket.name)
        return bucket

    return run


@pytest.fixture
def bucket(connect, server):
    return connect(server)
