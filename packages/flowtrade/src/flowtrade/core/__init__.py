"""The use cases of flow trading, between the ports: no HTTP, no SQL.

`state` (what is stored) and `operations` (the only ways to change it) are pure;
`mirror` is the current state in memory; `service` answers requests; `auction` runs
batches. Import from the modules: this file stays empty to keep imports light.
"""
