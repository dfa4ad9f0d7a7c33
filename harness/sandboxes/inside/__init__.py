"""The in-sandbox agent: standard library only, Python 3.8 and newer, so that any image can run it.

Few and light imports throughout: it is started once per sandbox, and `json`, `signal` and their kin cost more than
bubblewrap itself. Mounted at /opt/inside; started as `python3 -I -S -c ... CONFIG`.
"""
