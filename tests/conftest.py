"""What holds for all tests.

Property tests assert properties, not times: hypothesis' deadline of 200 ms per example would fail on a busy
machine and nowhere else.
"""

from hypothesis import settings

settings.register_profile("torpor", deadline=None, print_blob=True)
settings.load_profile("torpor")
