"""What holds for all tests.

Property tests assert properties, not times: hypothesis' deadline of 200 ms per example would fail on a busy
machine and nowhere else. And a gate asks the same questions of the same commit: with examples drawn anew in
each run, a change is turned away for a fault that lay in another one's test. So the examples follow from the
test's own text, and `make fuzz` draws new ones: what it finds becomes an example written down beside its
property.
"""

import os

from hypothesis import settings

settings.register_profile("torpor", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("fuzz", deadline=None, print_blob=True)
settings.load_profile("fuzz" if os.environ.get("TORPOR_FUZZ") else "torpor")
