"""Devices, instance type, driver and wheels, read from planted files, fake tools and a metadata service on loopback."""
from __future__ import annotations

import ast
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from model.neuron.machine import instance, software
from model.neuron.machine.host import LONGEST, Host
from model.neuron.machine.instance import Device
from tests.model.neuron.planted import TOOLS, WHEELS, Planted, ended, inf1, row
from tests.waiting import PATIENCE


@pytest.fixture
def machine(tmp_path) -> Planted:
    return Planted(tmp_path)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(instance, "NEURON_LS_SECONDS", 0.3)


def counts(found: instance.Devices) -> tuple:
    return len(found.devices), found.cores, found.source


@pytest.mark.parametrize("chips", [1, 4, 16])
def test_neuron_ls_tells_devices_and_cores(tmp_path, chips):
    found = instance.devices(inf1(tmp_path, chips).host)
    assert counts(found) == (chips, 4 * chips, "neuron-ls") and found.problem == ""


def test_the_tools_need_not_be_on_path(tmp_path):
    machine = inf1(tmp_path).set(PATH="")
    assert instance.devices(machine.host).source == "neuron-ls"


def test_a_tool_on_path_comes_first(tmp_path):
    machine = inf1(tmp_path).set(PATH=str(tmp_path / "mine"))
    machine.tool("neuron-ls", [row(0), row(1)], folder="mine")
    assert counts(instance.devices(machine.host)) == (2, 8, "neuron-ls")


def test_processes_that_hold_cores_are_named_and_the_tools_themselves_are_not(machine):
    holders = [{"pid": 7, "command": "python serve.py", "neuron_runtime_version": "2.0.0"},
               {"pid": 8, "command": "/opt/aws/neuron/bin/neuron-ls"}, {"pid": 9, "command": " "}, {"command": "x"}, 3]
    machine.tool("neuron-ls", [row(neuron_processes=holders)])
    assert instance.devices(machine.host).devices[0].processes == {7: "python serve.py", 9: "?"}


SPARSE = {
    "no nc_count": ({"nc_count": None}, 4),
    "no ids either: the driver's count": ({"nc_count": None, "neuroncore_ids": None}, 3),
    "a count that is not a number": ({"nc_count": "four"}, 4),
    "a negative count": ({"nc_count": -1}, 4),
    "no number of the device": ({"neuron_device": None}, 4),
    "nothing": (dict.fromkeys(row()), 3),
}


@pytest.mark.parametrize("changes, cores", SPARSE.values(), ids=SPARSE)
def test_keys_that_a_version_of_neuron_ls_lacks_are_made_up_for(machine, changes, cores):
    machine.chip(0, cores=3).tool("neuron-ls", [row(0, **changes)])
    assert counts(instance.devices(machine.host)) == (1, cores, "neuron-ls")


def test_processes_are_unknown_where_neuron_ls_does_not_list_them(machine):
    machine.tool("neuron-ls", [row(neuron_processes=None)])
    assert instance.devices(machine.host).devices == (Device(0, 4, None),)


def test_a_notice_before_the_list_is_passed_over(machine):
    notice = "Neuron Tools have changed with Neuron v1.16.0, see [1]\n\n"
    machine.tool("neuron-ls", notice + json.dumps([row()]))
    assert counts(instance.devices(machine.host)) == (1, 4, "neuron-ls")


BROKEN = {
    "garbage": ({"shown": "<html>502</html>"}, "neuron-ls -j must write a JSON list, wrote '<html>502</html>'"),
    "cut": ({"shown": json.dumps([row()])[:-30]}, "neuron-ls -j must write a JSON list"),
    "an object": ({"shown": {"neuron_device": 0}}, "neuron-ls -j must write a JSON list"),
    "nothing": ({"shown": ""}, "neuron-ls -j must write a JSON list, wrote ''"),
    "an empty list": ({"shown": []}, "neuron-ls lists no device"),
    "a list of no objects": ({"shown": [1, None, "x"]}, "neuron-ls lists no device"),
    "deeply nested": ({"shown": "[" * 100_000}, "neuron-ls -j must write a JSON list"),
    "huge": ({"shown": "[" + " " * 2 * LONGEST + "]"}, "neuron-ls -j must write a JSON list"),
    "exit 1": ({"shown": [row()], "code": 1, "errors": 'time="…"\nlevel=fatal msg="no driver"\n'},
               'neuron-ls ended with 1: level=fatal msg="no driver"'),
    "exit 1 without a word": ({"code": 1}, "neuron-ls ended with 1: no reason given"),
}


@pytest.mark.parametrize("tool, problem", BROKEN.values(), ids=BROKEN)
def test_the_driver_is_asked_where_neuron_ls_fails_and_the_failure_is_told(machine, tool, problem):
    machine.chip(2).chip(10).tool("neuron-ls", **tool)
    found = instance.devices(machine.host)
    assert counts(found) == (2, 8, "sysfs") and found.problem.startswith(problem)
    assert [chip.index for chip in found.devices] == [2, 10]


def test_bytes_that_are_no_text_are_no_list(machine):
    machine.tool("neuron-ls")
    (machine.root / "shown/neuron-ls.out").write_bytes(bytes(range(256)))
    assert "must write a JSON list" in instance.devices(machine.host).problem


def test_a_neuron_ls_that_hangs_is_ended_with_all_it_started(machine, impatient):
    started = machine.root / "started"
    machine.chip().script(f"{TOOLS}/neuron-ls", f"#!/bin/sh\n/bin/sleep 100 & echo $! > {started}\nwait\n")
    begin = time.monotonic()
    found = instance.devices(machine.host)
    assert counts(found) == (1, 4, "sysfs") and found.problem == "neuron-ls did not end within 0.3 s"
    assert time.monotonic() - begin < PATIENCE and ended(started)


def test_a_neuron_ls_that_is_no_program_is_told(machine):
    machine.chip().script(f"{TOOLS}/neuron-ls", "no program")
    assert instance.devices(machine.host).problem == "neuron-ls cannot be run: Exec format error"


def test_device_nodes_alone_tell_chips_and_not_cores(machine):
    for name in ("neuron0", "neuron1", "neuron", "neuronx", "null"):
        machine.write(f"dev/{name}")
    assert counts(instance.devices(machine.host)) == (2, None, "device nodes")


@pytest.mark.parametrize("count", ["", "four", "-4", "4.0", "9" * 5000],
                         ids=["empty", "a word", "negative", "a fraction", "endless"])
def test_a_core_count_that_makes_no_sense_is_unknown(machine, count):
    machine.chip(0).chip(1).write(f"{instance.SYSFS}/neuron1/core_count", count)
    assert counts(instance.devices(machine.host)) == (2, None, "sysfs")


def test_a_machine_without_devices_says_so(machine):
    assert instance.devices(machine.host) == instance.Devices((), "", "neuron-ls is not installed")


def test_this_machine_can_be_asked():
    found = instance.devices()
    assert isinstance(found.devices, tuple) and bool(found.source) == bool(found.devices)


def test_chips_without_a_driver_are_seen_on_the_pci_bus(machine):
    for slot, (vendor, product) in enumerate([("0x1d0f", "0x7064"), ("0x1d0f", "0x7067"), ("0x1d0f", "0xec20"),
                                              ("0x10de", "0x7064")]):
        machine.write(f"sys/bus/pci/devices/0000:00:{slot:02x}.0/vendor", vendor + "\n")
        machine.write(f"sys/bus/pci/devices/0000:00:{slot:02x}.0/device", product + "\n")
    machine.write("sys/bus/pci/devices/0000:00:1f.0/vendor", "0x1d0f\n")
    assert instance.chips_on_pci(machine.host) == 2


# The instance type.

class Imds(BaseHTTPRequestHandler):
    """A metadata service of version 2: no response without the token that a PUT hands out."""

    kind, delay, requests = "inf1.6xlarge", 0.0, []

    def do_PUT(self):
        self.requests.append(self.path)
        time_to_live = self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        good = self.path == "/latest/api/token" and (time_to_live or "").isdecimal()
        self.respond(200 if good else 400, "the token")

    def do_GET(self):
        self.requests.append(self.path)
        good = self.headers["X-aws-ec2-metadata-token"] == "the token"
        known = self.path in ("/latest/meta-data/instance-type", "/latest/meta-data/ami-id")
        self.respond(200 if good else 401, self.kind if good and known else "")

    def respond(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        try:
            for letter in text:  # slow ones never let a single read time out
                time.sleep(self.delay)
                self.wfile.write(letter.encode())
        except OSError:
            pass

    def log_message(self, *arguments):
        pass


@pytest.fixture
def imds(machine):
    """Starts a metadata service of changed behaviour, at which the planted machine asks; gives its handler."""
    servers = []

    def start(base=Imds, **changes):
        handler = type("Handler", (base,), {"requests": [], **changes})
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        servers[-1].daemon_threads = True
        Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
        machine.set(AWS_EC2_METADATA_DISABLED="", AWS_EC2_METADATA_SERVICE_ENDPOINT=
                    f"http://127.0.0.1:{servers[-1].server_port}")
        return handler

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_dmi_tells_the_instance_type(machine, imds):
    handler = imds()
    machine.write("sys/devices/virtual/dmi/id/product_name", "inf1.2xlarge\n")
    assert instance.instance_type(machine.host) == ("inf1.2xlarge", "DMI") and not handler.requests


def test_imds_tells_the_instance_type_to_who_has_a_token(machine, imds):
    handler = imds()
    assert instance.instance_type(machine.host) == ("inf1.6xlarge", "IMDS")
    assert handler.requests == ["/latest/api/token", "/latest/meta-data/instance-type"]


def test_imds_knows_the_machine_image(machine, imds):
    handler = imds(kind="ami-0123456789abcdef0")
    assert instance.machine_image(machine.host) == "ami-0123456789abcdef0"
    assert handler.requests == ["/latest/api/token", "/latest/meta-data/ami-id"]


@pytest.mark.parametrize("kind", ["", "<html>log in</html>", "ami-xyz", "ami-1; rm -rf /"])
def test_what_is_not_an_image_s_id_is_none(machine, imds, kind):
    imds(kind=kind)
    assert instance.machine_image(machine.host) is None


def test_imds_is_not_asked_through_a_proxy(machine, imds, monkeypatch):
    imds()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert instance.instance_type(machine.host).source == "IMDS"


def refuse(self):
    self.respond(403, "")


def hang_up(self):
    self.connection.close()


NO_TYPE = {
    "version 1 only": {"do_PUT": refuse},
    "an error that says a type": {"do_GET": lambda self: self.respond(500, "inf1.2xlarge")},
    "a token that is not accepted": {"do_GET": lambda self: self.respond(401, "")},
    "an HTML page for everything": {"kind": "<html>log in</html>"},
    "a type of nonsense": {"kind": "inf1.2xlarge; rm -rf /"},
    "hangs up": {"do_PUT": hang_up},
    "no ASCII": {"do_PUT": lambda self: self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe")},
    "no HTTP": {"do_PUT": lambda self: self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")},
}


@pytest.mark.parametrize("changes", NO_TYPE.values(), ids=NO_TYPE)
def test_what_answers_wrongly_at_the_address_of_imds_tells_nothing(machine, imds, changes):
    handler = imds(**changes)
    assert instance.instance_type(machine.host) == (None, None)
    assert handler.requests or "do_PUT" in changes


def test_a_slow_imds_is_given_up_after_a_second(machine, imds):
    imds(delay=0.3)
    begin = time.monotonic()
    assert instance.instance_type(machine.host) == (None, None)
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://127.0.0.1:port", "nonsense", "http://[::1"])
def test_an_imds_that_is_not_there_tells_nothing(machine, endpoint):
    machine.set(AWS_EC2_METADATA_DISABLED="", AWS_EC2_METADATA_SERVICE_ENDPOINT=endpoint)
    assert instance.instance_type(machine.host) == (None, None)


def test_imds_is_asked_only_on_ec2_and_where_it_is_not_forbidden(machine, imds):
    handler = imds()
    machine.write("sys/devices/virtual/dmi/id/product_name", "20XW0026GE\n")
    machine.write("sys/devices/virtual/dmi/id/sys_vendor", "LENOVO\n")
    assert instance.instance_type(machine.host) == (None, None)
    machine.write("sys/devices/virtual/dmi/id/sys_vendor", "Amazon EC2\n")
    machine.set(AWS_EC2_METADATA_DISABLED="True")
    assert instance.instance_type(machine.host) == (None, None) and not handler.requests


@pytest.mark.parametrize("chips, processors, kind", [
    (1, 4, "inf1.xlarge"), (1, 8, "inf1.2xlarge"), (4, 24, "inf1.6xlarge"), (16, 96, "inf1.24xlarge"), (1, 2, None),
])
def test_chips_and_processors_tell_the_size(machine, chips, processors, kind):
    for index in range(chips):
        machine.chip(index)
    machine.write("proc/cpuinfo", "".join(f"processor\t: {i}\nflags\t\t: {'x' * 900}\n\n" for i in range(processors)))
    assert instance.instance_type(machine.host) == (kind, kind and "sysfs")


def test_another_family_of_as_many_chips_is_not_taken_for_inf1(machine):
    machine.chip(family="Trn1").write("proc/cpuinfo", "processor\t: 0\n" * 8)
    assert instance.instance_type(machine.host) == (None, None)


# The software.

def test_the_loaded_driver(machine):
    machine.write("sys/module/neuron/version", "2.24.7.0\n")
    assert software.driver(machine.host) == ("2.24.7.0", True, "/sys/module/neuron")


def test_a_driver_that_is_installed_and_not_loaded(machine):
    machine.tool("modinfo", "2.21.37.0\n", folder="usr/sbin")
    machine.write("proc/modules", "nvme 1 2 - Live 0x0\nneuronal 1 2 - Live 0x0\n")
    assert software.driver(machine.host) == ("2.21.37.0", False, "modinfo")


def test_a_loaded_driver_without_a_version(machine):
    machine.write("proc/modules", "nvme 1 2 - Live 0x0\n" * 500 + "neuron 385024 0 - Live 0x0 (OE)\n")
    assert software.driver(machine.host) == (None, True, "modinfo")


def test_no_driver(machine):
    machine.tool("modinfo", code=1, errors="modinfo: ERROR: Module neuron not found.", folder="sbin")
    assert software.driver(machine.host) is None


def test_packages_that_were_removed_do_not_count(machine):
    machine.tool("dpkg-query", "installed aws-neuronx-tools 2.19.0.0\nconfig-files aws-neuronx-dkms 2.24.7.0\n"
                 "not-installed aws-neuronx-runtime-lib \n", code=1, errors="dpkg-query: no packages found")
    assert software.packages(machine.host, "aws-neuronx-tools", "aws-neuronx-dkms") == {"aws-neuronx-tools": "2.19.0.0"}


def test_without_dpkg_packages_are_unknown(machine):
    assert software.packages(machine.host, "aws-neuronx-tools") is None


@pytest.mark.parametrize("version, numbers", [
    ("1.24.0.0+4c32dd9", (1, 24, 0, 0)), ("3.20.0rc1", (3, 20, 0)), ("2", (2,)), ("", ()), ("unknown", ()),
])
def test_the_numbers_of_a_version(version, numbers):
    assert software.release(version) == numbers


def plant_distributions(folder, versions, record=""):
    """Installs distributions that consist of their metadata."""
    for name, version in versions.items():
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text(record)
    return folder


def pythons() -> list[str]:
    """This Python, and a 3.7 where there is one that starts: TensorFlow 1.15 needs it."""
    old = ["python3.7", *map(str, Path.home().glob(".pyenv/versions/3.7*/bin/python"))]
    probe = "import sys, pkg_resources; sys.exit(sys.version_info[:2] != (3, 7))"
    return [sys.executable, *[name for name in old if Host().run([name, "-c", probe], 10) == ("", "")][:1]]


@pytest.mark.parametrize("python", pythons())
def test_an_interpreter_tells_what_it_has_installed(tmp_path, python):
    folder = plant_distributions(tmp_path, WHEELS, "tensorflow_neuron/runtime/libnrt.so.1,sha256=x,1\n")
    compiler = Planted(tmp_path).script("bin/neuron-cc", "#!/bin/sh\n")
    host = Host(environment={**Host().environment, "PYTHONPATH": str(folder),
                             "PATH": f"{Host().environment['PATH']}:{tmp_path / 'bin'}"})
    found = software.interpreter(host, python)
    assert found.versions == WHEELS and found.bundles_runtime and found.neuron_cc == str(compiler)
    assert found.python.startswith("3.") and found.system.startswith("Linux") and found.path == python


def test_broken_metadata_counts_as_not_installed(tmp_path):
    plant_distributions(tmp_path, {"tensorflow-neuron": "2.10.1"})
    (tmp_path / "neuron_cc-1.24.0.0.dist-info").mkdir()
    host = Host(environment={**Host().environment, "PYTHONPATH": str(tmp_path)})
    found = software.interpreter(host)
    assert found.versions["tensorflow-neuron"] == "2.10.1" and "neuron-cc" not in found.versions
    assert not found.bundles_runtime


def test_the_probe_parses_on_python_3_7():
    ast.parse(software.PROBE.read_text(), feature_version=(3, 7))


@pytest.mark.parametrize("text, why", [
    (None, "cannot be run: No such file or directory"),
    ("#!/bin/sh\nexit 3\n", "ended with 3: no reason given"),
    ("#!/bin/sh\necho hello\n", "its output is not that of Python"),
    ("#!/bin/sh\necho '{\"python\": 3}'\n", "its output is not that of Python"),
    ("#!/bin/sh\necho '[]'\n", "its output is not that of Python"),
    ("no program", "cannot be run: Exec format error"),
], ids=["missing", "fails", "no JSON", "half", "a list", "no program"])
def test_what_is_no_python_is_refused_by_the_option_s_name(machine, text, why):
    path = machine.root / "python"
    if text:
        machine.script("python", text)
    with pytest.raises(software.InterpreterError, match=f"^{path}: must be a Python 3.7 .*{why}$"):
        software.interpreter(machine.host, str(path))


# The facts for reports.

def test_facts_of_an_inf1_machine(tmp_path):
    machine = inf1(tmp_path, chips=4, size="inf1.6xlarge")
    python = machine.python()
    assert instance.facts(machine.host, python) == {
        "instance_type": "inf1.6xlarge", "instance_type_source": "DMI",
        "neuron_devices": 4, "neuron_devices_source": "neuron-ls",
        "neuron_cores": 16, "neuron_cores_source": "neuron-ls",
        "neuron_driver": "2.24.7.0", "neuron_driver_source": "/sys/module/neuron",
        "tensorflow_neuron": "2.10.1.2.12.2.0", "tensorflow_neuron_source": python,
        "neuron_cc": "1.24.0.0+d58fa6134", "neuron_cc_source": python,
    }


def test_facts_of_a_machine_without_anything(machine):
    facts = instance.facts(machine.host, machine.python(wheels={}))
    assert set(facts.values()) == {0, None} and facts["neuron_devices"] == 0


def test_facts_of_this_machine_are_json():
    facts = instance.facts(Host(environment={**Host().environment, "AWS_EC2_METADATA_DISABLED": "true"}))
    assert json.loads(json.dumps(facts)) == facts
