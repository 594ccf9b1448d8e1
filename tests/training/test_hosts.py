"""Training on several hosts: how they are named, how they meet, and whole runs of real processes on the loopback."""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from deblurgan.errors import InputError
from deblurgan.training.hosts import ALONE, Hosts, from_environment, meet
from deblurgan.training.progress import Result
from deblurgan.training.team import lost
from deblurgan.training.trainer import train
from tests.cli.program import deblurgan, error_of
from tests.training.runs import assert_same_file, from_noise, recipe, tensors, tutorial, untimed

ROOT = Path(__file__).parents[2]
BOTH = "--hosts, --host_index"
TOGETHER = {"steps": 12, "steps_per_epoch": 2, "checkpoint_every": 1, "losses": {"mse": 1.0}, "batch_size": 24}


def addresses(count):
    """So many addresses of this machine whose ports are free."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return tuple(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)


# Which they are


def test_tf_config_names_the_hosts_as_tensorflow_has_it(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert from_environment() is ALONE
    workers = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}
    chief = {"cluster": {"chief": ["c:3"], "worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}
    cloud = {"cluster": {}, "environment": "cloud", "task": {"type": "worker", "index": 0}}
    for config, expected in (
        (workers, Hosts(("a:1", "b:2"), 1)),
        (chief, Hosts(("c:3", "a:1", "b:2"), 2)),
        ({**chief, "task": {"type": "chief", "index": 0}}, Hosts(("c:3", "a:1", "b:2"), 0)),
        (cloud, ALONE),
    ):
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        assert from_environment() == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "TF_CONFIG: expected JSON such as"),
        ("[1]", "TF_CONFIG: expected JSON such as"),
        ('{"cluster": {"worker": ["a:1"]}}', "TF_CONFIG: expected JSON such as"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "0"}}', "TF_CONFIG: expected JSON"),
        ('{"cluster": {"worker": [1]}, "task": {"type": "worker", "index": 0}}', "TF_CONFIG: expected HOST:PORT for"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            "TF_CONFIG: expected a task of the cluster, received worker 1",
        ),
        (
            '{"cluster": {"worker": ["a:1"], "ps": ["p:1"]}, "task": {"type": "worker", "index": 0}}',
            "TF_CONFIG: expected chief and worker in the cluster and the task, found ps",
        ),
        (
            '{"cluster": {"worker": ["a:1", "a"]}, "task": {"type": "worker", "index": 0}}',
            "TF_CONFIG: expected HOST:PORT for each host, received 'a'",
        ),
    ],
)
def test_a_tf_config_that_cannot_be_is_refused_in_one_line(monkeypatch, config, message):
    monkeypatch.setenv("TF_CONFIG", config)
    assert error_of(deblurgan("train")).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hosts", "a:1,b:2"], "--hosts: expected --host_index with it, received none"),
        (["--host_index", "0"], "--host_index: expected --hosts with it, received none"),
        (["--hosts", "a:1,b:2", "--host_index", "2"], f"{BOTH}: expected an index from 0 to 1, received 2"),
        (["--hosts", "a:1,b:2", "--host_index=-1"], f"{BOTH}: expected an index from 0 to 1, received -1"),
        (["--hosts", "a:1,a:1", "--host_index", "0"], f"{BOTH}: expected each host once, received a:1 twice"),
        (["--hosts", "a:1,b", "--host_index", "0"], f"{BOTH}: expected HOST:PORT for each host, received 'b'"),
        (["--hosts", "a:1,b:0", "--host_index", "0"], f"{BOTH}: expected HOST:PORT for each host, received 'b:0'"),
        (["--hosts", ":1", "--host_index", "0"], f"{BOTH}: expected HOST:PORT for each host, received ':1'"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(monkeypatch, options, message):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert error_of(deblurgan("train", *options)) == message


def test_only_one_of_both_ways_is_taken(monkeypatch):
    config = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    message = "--hosts: expected this or TF_CONFIG in the environment, received both"
    assert error_of(deblurgan("train", "--hosts", "a:1,b:2", "--host_index", "0")) == message
    assert error_of(deblurgan("gan")).startswith("TF_CONFIG: expected one host; `deblurgan train --recipe gan`")


# How they meet


def met(known, own, told, wait=20.0):
    """What all hosts of `known` are told, or the errors that they end with."""
    results = [None] * len(known)

    def run(place):
        try:
            results[place] = meet(known[place], own[place], told if place == 0 else None, wait)
        except InputError as error:
            results[place] = str(error)

    threads = [threading.Thread(target=run, args=(place,)) for place in reversed(range(len(known)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_hosts_that_meet_are_told_what_the_first_one_says():
    three = addresses(3)
    told = {"recipe": {"batch_size": 3}, "name": "Größe"}
    assert met([Hosts(three, index) for index in range(3)], [{"version": "1"}] * 3, told) == [told] * 3


def test_a_stranger_at_the_door_does_no_harm():
    two = addresses(2)
    first, stop = Hosts(two, 0), threading.Event()

    def knock():
        while not stop.is_set():
            with contextlib.suppress(OSError), socket.create_connection(first.located(0), timeout=1) as stranger:
                stranger.sendall(b'GET / HTTP/1.1\r\n{"index": []}\n')

    stranger = threading.Thread(target=knock)
    stranger.start()
    assert met([first, Hosts(two, 1)], [{}] * 2, 7) == [7, 7]
    stop.set()
    stranger.join()


def test_hosts_that_are_not_alike_all_end_and_say_so():
    two = addresses(2)
    results = met([Hosts(two, 0), Hosts(two, 1)], [{"keras": "3.15"}, {"keras": "3.8"}], None)
    error = f"host 1 ({two[1]}): expected its keras to be 3.15, as of the first, found 3.8"
    assert results == [error, error]


def test_a_longer_list_of_hosts_ends_all_too():
    three = addresses(3)
    results = met([Hosts(three[:2], 0), Hosts(three, 2)], [{}] * 2, None)
    error = f"host 2: expected its hosts to be {list(three[:2])}, as of the first, found {list(three)}"
    assert results == [error, error]


def test_a_host_that_never_comes_ends_all_others_after_the_stated_time():
    three = addresses(3)
    late = f"host 2 ({three[2]}) did not come within 2 seconds (--wait_for_hosts)"
    assert met([Hosts(three, 0), Hosts(three, 1)], [{}] * 2, None, wait=2.0) == [late, late]


def test_without_the_first_the_others_end_after_the_stated_time():
    two = addresses(2)
    result = deblurgan("train", "--hosts", ",".join(two), "--host_index", "1", "--wait_for_hosts", "1")
    assert f"host 1 ({two[1]}) trains with host 0 ({two[0]}), which says how, scores and writes" in result.output
    late = f"host 0 ({two[0]}), the first, did not begin within 1 seconds (--wait_for_hosts); see what it says"
    assert result.stderr.splitlines()[-1] == f"Error: {late}"


@pytest.mark.parametrize("wait", [float("nan"), float("inf"), 0.0, -1.0])
def test_waiting_takes_a_number_of_seconds(wait):
    with pytest.raises(InputError, match=f"^wait_for_hosts: expected more than 0 seconds, .* received {wait:g}$"):
        meet(Hosts(addresses(2), 1), {}, None, wait)


@pytest.mark.parametrize("index", [0, 1])
def test_a_port_that_is_taken_is_told(index):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        two = ["a:1", "b:1"]
        two[index] = f"127.0.0.1:{taken.getsockname()[1]}"
        message = rf"host {index} .*: cannot listen at its port here: Address already in use"
        with pytest.raises(InputError, match=message):
            meet(Hosts(tuple(two), index), {}, None, 1.0)


def test_a_host_that_left_pictures_out_says_so_at_the_end(monkeypatch):
    result = Result(Path(), Path(), [], {"x.png": "x.png: not a readable image"}, interrupted=False)
    monkeypatch.setattr("deblurgan.training.trainer.follow", lambda *hosts, **options: result)
    ended = deblurgan("train", "--hosts", "a:1,b:2", "--host_index", "1")
    assert error_of(ended) == "1 pictures were left out: x.png: not a readable image"


@pytest.mark.parametrize(
    ("message", "gone"),
    [
        ("Aborted by: tasks are unhealthy:\n{2}\nAdditional information from remote target {0} while calling", [2]),
        ("Failed to send.\nAdditional information from remote target {0} while calling Heartbeat", [0]),
        ("The first task at the barrier: {0}. Some timed out task names:\n{1}\n{2}", [2]),
        ("connection reset by {0} and {2}", [0, 2]),
    ],
)
def test_the_host_that_is_gone_is_named_and_not_the_one_that_tells(message, gone):
    three = Hosts(("a:1", "b:2", "c:3"), 1)
    told = message.format(*(f"/job:worker/replica:0/task:{index}" for index in range(3)))
    assert str(lost(three, told)).startswith(f"{', '.join(map(three.name, gone))}: does not answer any more")


# What they can train


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (tutorial(), "hosts: expected one alone with the tutorial's step, received 2"),
        (recipe(jit="always"), "jit: expected never or gpu with 2 hosts, received always"),
        (
            recipe(batch_size=3),
            r"batch_size: expected a multiple of hosts x their devices x accumulate \(2 x 1\), received 3",
        ),
    ],
)
def test_what_several_hosts_cannot_train_is_refused(tmp_path, plan, message):
    with pytest.raises(InputError, match=message):
        train(plan, tmp_path / "run", hosts=Hosts(("a:1", "b:2"), 0))
    assert not (tmp_path / "run").exists()


# Whole runs


class Running:
    """`deblurgan train` on so many hosts, each a process of its own."""

    def __init__(self, folder, plan, count, *options):
        (folder / "plan.json").write_text(json.dumps(dataclasses.asdict(plan)))
        self.addresses = addresses(count)
        run = ["--recipe", str(folder / "plan.json"), "--output_dir", str(folder), "--run", "run", *options]
        together = ["--hosts", ",".join(self.addresses), "--wait_for_hosts", "120", "--host_index"]
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "deblurgan", "train", *run, *together, str(index)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                cwd=folder / "elsewhere" if index else folder,
            )
            for index in range(count)
        ]

    def send(self, index, number, after):
        """Send a host a signal when it has printed a line that begins so."""
        for line in self.processes[index].stdout:
            if line.startswith(after):
                break
        self.processes[index].send_signal(number)

    def ended(self):
        """The codes and what was said, of each host."""
        said = [process.communicate(timeout=300)[0] for process in self.processes]
        return [process.returncode for process in self.processes], said


@pytest.fixture(scope="module")
def run_on(tmp_path_factory):
    """A function that trains a plan on so many hosts and returns the run's folder, and what each host said."""

    def run_on(plan, count):
        folder = tmp_path_factory.mktemp("hosts")
        (folder / "elsewhere").mkdir()
        codes, said = Running(folder, plan, count).ended()
        assert codes == [0] * count, said
        assert list((folder / "elsewhere").iterdir()) == []
        return folder / "run", said

    return run_on


@pytest.fixture(scope="module")
def undisturbed(run_on):
    return run_on(together(), 2)


def together(**changes):
    return recipe(**{**TOGETHER, "epsilon": 1e-3, "clip_norm": 1.0, "ema": 0.5, "early_stopping": 20, **changes})


def assert_close(run, other):
    for name in ("generator_last.weights.h5", "checkpoints/step_000000012.h5"):
        mine, theirs = tensors(run / name), tensors(other / name)
        assert mine.keys() == theirs.keys()
        for key, value in mine.items():
            np.testing.assert_allclose(value, theirs[key], rtol=1e-4, atol=2e-6, err_msg=key)


@pytest.mark.slow
def test_two_and_three_hosts_give_the_result_of_one(undisturbed, run_on, tmp_path):
    one = train(together(), tmp_path / "one")
    for run, said in (undisturbed, run_on(together(), 3)):
        assert_close(run, one.run)
        history = json.loads((run / "run.json").read_text())["epochs"]
        for row, expected in zip(untimed(history), untimed(one.history), strict=True):
            assert row == pytest.approx(expected, rel=1e-4)
        assert "hosts, " in said[0]
        assert "Done. The results are with host 0" in said[1]


@pytest.mark.slow
def test_hosts_that_are_interrupted_and_killed_end_as_if_they_had_not_been(undisturbed, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    running = Running(tmp_path, together(), 2)
    running.send(1, signal.SIGINT, after="epoch 1")
    codes, said = running.ended()
    assert codes == [130, 130], said
    assert "Go on with:" in said[0]
    assert "Stopped. The results are with host 0" in said[1]
    for killed, after in ((0, "epoch 2"), (1, "epoch 3")):
        assert_lost(Running(tmp_path, together(), 2, "--resume"), killed, after)
    codes, said = Running(tmp_path, together(), 2, "--resume").ended()
    assert codes == [0, 0], said
    for name in ("generator_last.weights.h5", "generator_best.weights.h5", "checkpoints/step_000000012.h5"):
        assert_same_file(tmp_path / "run" / name, undisturbed[0] / name)
    histories = [json.loads((run / "run.json").read_text())["epochs"] for run in (tmp_path / "run", undisturbed[0])]
    assert untimed(histories[0]) == untimed(histories[1])


JOIN = """
import sys
from deblurgan.training import team
from deblurgan.training.hosts import Hosts

team.JOINING = 3.0
hosts = Hosts(tuple(sys.argv[1].split(",")), int(sys.argv[2]))
with team.naming_lost(hosts):
    team.Team(hosts, "one")
"""


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_a_host_that_is_gone_before_all_are_connected_ends_the_other(index):
    command = [sys.executable, "-c", JOIN, ",".join(addresses(2)), str(index)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=ROOT)
    assert "does not answer any more; see what it said last." in ended.stderr


@pytest.mark.slow
def test_when_the_first_host_is_killed_the_other_ends_too(tmp_path):
    """And pictures from noise are learnt on two hosts until then."""
    (tmp_path / "elsewhere").mkdir()
    plan = from_noise("wgan-gp", critic_updates=2, ema=0.9, steps=300)
    assert_lost(Running(tmp_path, plan, 2), 0, after="epoch 2")


def assert_lost(running, killed, after):
    """Kill a host; the other ends with a line that names it."""
    running.send(killed, signal.SIGKILL, after)
    codes, said = running.ended()
    assert codes[killed] == -signal.SIGKILL, said
    assert codes[1 - killed] == 1, said
    gone = f"Error: host {killed} ({running.addresses[killed]}): does not answer any more; see what it said last."
    assert said[1 - killed].splitlines()[-1] == f"{gone} Then start all hosts again with --resume"
