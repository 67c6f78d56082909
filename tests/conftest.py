"""Settings of the whole suite. (That this file is here puts its folder on the path, for `import helpers`.)"""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# Times vary on shared machines, and the first call of a shape makes a plan: no example fails for being slow.
settings.register_profile("fastconv", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fastconv")

# What a shell starts in the background ignores Ctrl-C: the tests must not depend on that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
