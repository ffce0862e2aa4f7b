"""What the tests let a process of `model.worker.client` do, good and bad. Runs on Python 3.7 without any library."""
from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time


def echo(**arguments):
    return arguments


def length(text):
    return len(text)


def repeat(text, times):
    return text * times


def fail(message):
    raise LookupError(message)


class Unprintable(Exception):
    """An exception that cannot be printed."""

    def __str__(self):
        raise RuntimeError("no words")


def fail_without_words():
    raise Unprintable


def fail_at_length(length):
    raise LookupError("x" * length)


def leave(status):
    sys.exit(status)


def no_json():
    return {1, 2}


def chatter(lines):
    """Prints in every way there is, then what could be taken for a frame."""
    for number in range(lines):
        print("line", number)
        sys.stderr.write("error line %d\n" % number)  # noqa: UP031 - formatting is not what is tested
    os.write(1, b"DET1\xff\xff\xff\xff{}")
    os.write(2, b"\x00\x1b[31m\xff" * 1000 + b"\n")


def last_words_and_death(words, number):
    print(words)
    os.kill(os.getpid(), number)
    time.sleep(60)


def last_words_and_exit(words, status):
    print(words)
    os._exit(status)


def last_words_and_silence(words):
    print(words)
    time.sleep(60)


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def child(seconds):
    """The process number of a program that outlives this call."""
    return subprocess.Popen(["sleep", str(seconds)]).pid


def child_and_silence(path, seconds):
    """Writes the number of a program that it starts into a file, and hangs."""
    with open(path, "w") as file:
        file.write(str(child(seconds)))
    time.sleep(seconds)


def child_of_its_own_and_nonsense(path, text):
    """Starts a program that leaves its group, and writes where only responses should go."""
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    with open(path, "w") as file:
        file.write(str(child.pid))
    write_on_sockets(text)
    time.sleep(60)


def background_and_death():
    """Dies, and leaves a program that was given every descriptor that may be inherited."""
    os.system("sleep 60 &")
    os._exit(5)


def write_on_sockets(text):
    """Writes where only responses should go."""
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                os.write(number, bytes.fromhex(text))
        except OSError:
            pass  # the descriptor of the listing itself


def write_on_sockets_and_die(text):
    write_on_sockets(text)
    os._exit(0)


def write_on_sockets_and_silence(text):
    write_on_sockets(text)
    time.sleep(60)
