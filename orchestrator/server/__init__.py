"""The embedded service: Tencent CI and COS on loopback, with real separation behind it.

``service.LocalService`` is all that others need; ``settings`` holds what can be set. Reading order: ``service`` (what there is), ``app`` (a
request's way), ``cicalls`` and ``coscalls`` (the two sides), ``scheduler`` and ``pool`` (the work), ``faults`` and ``control`` (rehearsal).
"""
