"""What surrounds MediaPipe: its chatter is kept away, ours is not."""

import os
import threading
import time

from sspnerf.perception.landmarks import quiet_native_log


def test_native_chatter_is_kept_away_and_stderr_comes_back(capfd):
    with quiet_native_log():
        os.write(2, b"chatter")
    os.write(2, b"ours")
    assert capfd.readouterr().err == "ours"


def test_stderr_comes_back_from_two_threads_that_are_quiet_at_once(capfd):
    def be_quiet(wait_s):
        for _ in range(20):
            with quiet_native_log():
                time.sleep(wait_s)

    threads = [threading.Thread(target=be_quiet, args=(wait,)) for wait in (0.001, 0.0013)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"ours")
    assert capfd.readouterr().err == "ours"
