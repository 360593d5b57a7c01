"""What is handed out: the images, the chart with what belongs to it, and the words about them.

A release is only worth trusting if two people who build it get the same bytes and if what runs can be traced
to what was built. So everything here is made from one commit: versions are compared before anything is made,
times are the commit's, the chart carries the images' digests, and each file has its hash. `python -m
release.images` builds the images with whatever builder the machine has, `python -m release.package` makes the
chart and the files beside it. Nothing leaves the machine unless a registry is named and pushing is asked for,
and a version that a registry has already is never replaced by other bytes.

There is no service, no state and no default registry: where things go is for whoever releases to say.
"""
