"""Sandboxes in containers.

provider.py sandbox.py settings.py   a container per sandbox, and what it is created with
engine.py attach.py tunnel.py        the engine: calls, streams, ssh
images.py portable.py                images, and what is added to them
owner.py                             whose container it is, for the reaper
base.py                              a base image without a registry, by debootstrap
"""
